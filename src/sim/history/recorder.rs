//! Taking down what clients do, while they do it.
//!
//! # Locks
//! One, a leaf, held for a few instructions per event.

use std::sync::Arc;

use crate::base::{Offset, TopicName, TopicPartition};
use crate::env::sync::Mutex;

use super::open::{Call, CommittedQuery, Open, Polling, Sending, WatermarksQuery};
use super::operation::{
    ClientId, Ending, History, Message, Operation, PartitionKey, TransactionId, What,
};

/// Takes a [`History`] down. Clones write to the same one, from any thread.
///
/// ```
/// use brooklet::sim::history::Recorder;
/// use brooklet::{Offset, PartitionId, TopicName, TopicPartition};
///
/// let email = TopicPartition::new(TopicName::new("email").unwrap(), PartitionId::ZERO);
/// let recorder = Recorder::new();
/// let writer = recorder.client("writer");
/// writer.send(1).ok(&email, Offset::ZERO);
/// writer.send(2).failed();
/// let lost = writer.send(3); // dropped: nobody knows what became of it
/// # drop(lost);
/// assert_eq!(recorder.history().len(), 3);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
}

impl Recorder {
    /// A recorder with an empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// One thread of control, by name: a producer of one thread, a consumer, a member of a group. To be called before
    /// it does anything.
    pub fn client(&self, name: &str) -> Client {
        let mut history = self.history.lock();
        let id = history.clients.id(&name.into());
        let next = history.ticks + 1;
        history.births.entry(id).or_insert(next);
        Client { history: Arc::clone(&self.history), id }
    }

    /// Everything recorded so far.
    pub fn history(&self) -> History {
        self.history.lock().clone()
    }

    /// After a crash that a flush policy allows to take a suffix of the log: it ends at `end` now. To be recorded
    /// before any client goes on. Nothing is excused by it unless [`Rules::lossy`](super::Rules::lossy) names the topic.
    pub fn lost_suffix(&self, partition: impl AsRef<TopicPartition>, end: Offset) {
        self.client("the log")
            .now(partition.as_ref(), |partition| What::LostSuffix { partition, end });
    }

    /// The topic has been deleted. If it is created again, to be recorded before.
    pub fn topic_deleted(&self, topic: &TopicName) {
        let client = self.client("the log");
        let mut history = self.history.lock();
        let all = history.partitions.iter();
        let of_topic = all.filter(|(_, partition)| partition.topic == *topic).map(|(key, _)| key);
        for partition in of_topic.collect::<Vec<_>>() {
            client.add_ended(&mut history, What::Deleted { partition });
        }
    }

    /// After a crash that a flush policy allows to take what `group` committed last: any of its commits may be the
    /// valid one.
    pub fn lost_commits(&self, group: &str) {
        let client = self.client("the log");
        let mut history = self.history.lock();
        let group = history.groups.id(&group.into());
        client.add_ended(&mut history, What::LostCommits { group });
    }
}

/// One thread of control, whose operations have an order.
///
/// ```
/// use brooklet::sim::history::Recorder;
/// use brooklet::{Offset, PartitionId, TopicName, TopicPartition};
///
/// let email = TopicPartition::new(TopicName::new("email").unwrap(), PartitionId::ZERO);
/// let reader = Recorder::new().client("reader");
/// reader.assign([(&email, Some(Offset::ZERO))]);
/// reader.poll().ok([(&email, Offset::ZERO, 7)]);
/// reader.commit("mailer", [(&email, Offset::from(1))]).ok();
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    history: Arc<Mutex<History>>,
    id: ClientId,
}

impl Client {
    /// Begins a send.
    pub fn send(&self, message: impl Into<Message>) -> Sending {
        self.send_in(None, message.into())
    }

    fn send_in(&self, transaction: Option<TransactionId>, message: Message) -> Sending {
        Sending(self.begin_in(transaction, What::Send { message, place: None }))
    }

    /// Begins a poll.
    pub fn poll(&self) -> Polling {
        Polling(self.begin_in(None, What::Poll { records: Vec::new() }))
    }

    /// The client reads these partitions from now on, and no others, each from the position that is given; `None`
    /// means that it is not known. A partition that it was reading before, given without a position, keeps its own.
    pub fn assign<P: AsRef<TopicPartition>>(
        &self,
        partitions: impl IntoIterator<Item = (P, Option<Offset>)>,
    ) {
        let mut history = self.history.lock();
        let partitions = positions(&mut history, partitions);
        self.add_ended(&mut history, What::Assign { partitions });
    }

    /// A group has added these partitions to what the client reads, in the generation (or member epoch) `generation`.
    pub fn assigned<P: AsRef<TopicPartition>>(
        &self,
        group: &str,
        generation: u64,
        partitions: impl IntoIterator<Item = (P, Option<Offset>)>,
    ) {
        let mut history = self.history.lock();
        let partitions = positions(&mut history, partitions);
        let group = history.groups.id(&group.into());
        self.add_ended(&mut history, What::Assigned { group, generation, partitions });
    }

    /// The client gives these partitions back to its group. To be recorded before it does: until now they were its own.
    pub fn revoked<P: AsRef<TopicPartition>>(&self, partitions: impl IntoIterator<Item = P>) {
        let mut history = self.history.lock();
        let partitions = keys(&mut history, partitions);
        self.add_ended(&mut history, What::Revoked { partitions });
    }

    /// The client was removed from its group, or may have been: these partitions may have been another's for a while.
    pub fn lost<P: AsRef<TopicPartition>>(&self, partitions: impl IntoIterator<Item = P>) {
        let mut history = self.history.lock();
        let partitions = keys(&mut history, partitions);
        self.add_ended(&mut history, What::Lost { partitions });
    }

    /// The client goes on reading elsewhere: at `to`, or nobody knows where.
    pub fn seek(&self, partition: impl AsRef<TopicPartition>, to: Option<Offset>) {
        self.now(partition.as_ref(), |partition| What::Seek { partition, to });
    }

    /// Begins to commit offsets for a group, each the offset of the next record to read. To be recorded also where
    /// offsets are reset by hand.
    pub fn commit<P: AsRef<TopicPartition>>(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = (P, Offset)>,
    ) -> Call {
        self.commit_in(None, group, offsets)
    }

    fn commit_in<P: AsRef<TopicPartition>>(
        &self,
        transaction: Option<TransactionId>,
        group: &str,
        offsets: impl IntoIterator<Item = (P, Offset)>,
    ) -> Call {
        let mut history = self.history.lock();
        let offsets = offsets.into_iter();
        let offsets =
            offsets.map(|(name, at)| (history.partitions.id(name.as_ref()), at)).collect();
        let group = history.groups.id(&group.into());
        let what = What::Commit { group, offsets };
        Call(self.add(&mut history, transaction, what))
    }

    /// Begins to ask what a group has committed.
    pub fn committed(&self, group: &str, partition: impl AsRef<TopicPartition>) -> CommittedQuery {
        let mut history = self.history.lock();
        let partition = history.partitions.id(partition.as_ref());
        let group = history.groups.id(&group.into());
        let what = What::Committed { group, partition, offset: None };
        CommittedQuery(self.add(&mut history, None, what))
    }

    /// Begins to ask for a partition's log start and high watermark.
    pub fn watermarks(&self, partition: impl AsRef<TopicPartition>) -> WatermarksQuery {
        let mut history = self.history.lock();
        let partition = history.partitions.id(partition.as_ref());
        let what = What::Watermarks { partition, found: None };
        WatermarksQuery(self.add(&mut history, None, what))
    }

    /// Begins to delete a partition's records before an offset.
    pub fn delete_records(&self, partition: impl AsRef<TopicPartition>, before: Offset) -> Call {
        let mut history = self.history.lock();
        let partition = history.partitions.id(partition.as_ref());
        Call(self.add(&mut history, None, What::DeleteRecords { partition, before }))
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Transaction {
        let mut history = self.history.lock();
        history.transactions += 1;
        let id = TransactionId(history.transactions);
        Transaction { client: self.clone(), id, ended: false }
    }

    /// The client is gone, and with it its positions. Who comes after it may have its name.
    pub fn crash(&self) {
        let mut history = self.history.lock();
        self.add_ended(&mut history, What::Crash);
    }

    /// Records something that is over as soon as it is known.
    fn now(&self, partition: &TopicPartition, what: impl FnOnce(PartitionKey) -> What) {
        let mut history = self.history.lock();
        let partition = history.partitions.id(partition);
        self.add_ended(&mut history, what(partition));
    }

    fn add_ended(&self, history: &mut History, what: What) {
        let invoked = history.tick();
        let ended = Some((invoked, Ending::Ok));
        let operation = Operation { client: self.id, transaction: None, invoked, ended, what };
        history.operations.push(operation);
    }

    fn begin_in(&self, transaction: Option<TransactionId>, what: What) -> Open {
        self.add(&mut self.history.lock(), transaction, what)
    }

    fn add(&self, history: &mut History, transaction: Option<TransactionId>, what: What) -> Open {
        let invoked = history.tick();
        let place = history.operations.len();
        let operation = Operation { client: self.id, transaction, invoked, ended: None, what };
        history.operations.push(operation);
        Open::new(&self.history, place)
    }
}

/// The sends, polls and offset commits of one transaction. Dropped, it counts as aborted.
///
/// ```
/// use brooklet::sim::history::Recorder;
/// use brooklet::{Offset, PartitionId, TopicName, TopicPartition};
///
/// let [orders, invoices] =
///     ["orders", "invoices"].map(|name| TopicPartition::new(TopicName::new(name).unwrap(), PartitionId::ZERO));
/// let invoicer = Recorder::new().client("invoicer");
/// let transaction = invoicer.begin();
/// transaction.poll().ok([(&orders, Offset::ZERO, 1)]);
/// transaction.send(2).ok(&invoices, Offset::ZERO);
/// transaction.commit_offsets("invoicers", [(&orders, Offset::from(1))]).ok();
/// transaction.commit().ok();
/// ```
#[derive(Debug)]
#[must_use = "a transaction that is dropped counts as aborted"]
pub struct Transaction {
    client: Client,
    id: TransactionId,
    ended: bool,
}

impl Transaction {
    /// Begins a send.
    pub fn send(&self, message: impl Into<Message>) -> Sending {
        self.client.send_in(Some(self.id), message.into())
    }

    /// Begins a poll whose records the transaction works on.
    pub fn poll(&self) -> Polling {
        Polling(self.client.begin_in(Some(self.id), What::Poll { records: Vec::new() }))
    }

    /// Begins to commit offsets for a group, to take effect with the transaction.
    pub fn commit_offsets<P: AsRef<TopicPartition>>(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = (P, Offset)>,
    ) -> Call {
        self.client.commit_in(Some(self.id), group, offsets)
    }

    /// Begins to commit. A commit that is known to have failed counts as an abort.
    pub fn commit(mut self) -> Call {
        self.end(true)
    }

    /// Begins to abort. Whatever comes of it, the transaction must never be seen as committed.
    pub fn abort(mut self) -> Call {
        self.end(false)
    }

    fn end(&mut self, commit: bool) -> Call {
        self.ended = true;
        Call(self.client.begin_in(Some(self.id), What::EndTransaction { commit }))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            self.end(false).unknown();
        }
    }
}

fn keys<P: AsRef<TopicPartition>>(
    history: &mut History,
    partitions: impl IntoIterator<Item = P>,
) -> Vec<PartitionKey> {
    partitions.into_iter().map(|name| history.partitions.id(name.as_ref())).collect()
}

fn positions<P: AsRef<TopicPartition>>(
    history: &mut History,
    partitions: impl IntoIterator<Item = (P, Option<Offset>)>,
) -> Vec<(PartitionKey, Option<Offset>)> {
    let partitions = partitions.into_iter();
    partitions.map(|(name, position)| (history.partitions.id(name.as_ref()), position)).collect()
}
