//! What members of groups do in simulations, and how they write it down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brooklet::sim::Sim;
use brooklet::sim::history::{Call, Client, Recorder};
use brooklet::{
    Cluster, Commit, Consumer, ConsumerRecord, Error, ErrorKind, GroupProtocol, Offset,
    RebalanceEvent, Records, Revocation, Subscription, TopicPartition,
};
use futures_util::StreamExt;

use crate::groups_plan::{Commits, MemberPlan, Reads};

/// Members come, go and stall.
pub(crate) const STORM: u64 = 0;
/// They poll and commit, and nothing else.
pub(crate) const CALM: u64 = 1;
/// They leave.
pub(crate) const OVER: u64 = 2;

/// What all who take part in a simulation know.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) phase: AtomicU64,
    /// Ids of members that were removed, or are about to be.
    pub(crate) removed: Mutex<BTreeSet<String>>,
    /// All values that each group was given.
    pub(crate) given: Mutex<BTreeMap<String, BTreeSet<u64>>>,
    pub(crate) finished: AtomicUsize,
    /// Times that members left, or did not poll for too long.
    pub(crate) faults: AtomicU64,
}

impl Shared {
    pub(crate) fn phase(&self) -> u64 {
        self.phase.load(Ordering::Relaxed)
    }
}

/// One who is a member again and again.
pub(crate) struct Member {
    pub(crate) sim: Sim,
    pub(crate) cluster: Cluster,
    pub(crate) recorder: Recorder,
    pub(crate) shared: Arc<Shared>,
    pub(crate) group: String,
    pub(crate) protocol: GroupProtocol,
    pub(crate) plan: MemberPlan,
    pub(crate) session_timeout: Duration,
}

/// What a member has, as far as it was written down.
#[derive(Default)]
struct Holding {
    held: BTreeSet<TopicPartition>,
    /// Given up by the next poll.
    going: BTreeSet<TopicPartition>,
    positions: BTreeMap<TopicPartition, Offset>,
    /// When the last poll began, or the wait before it: since then it may have had something to give up.
    begun: Duration,
    /// Its id then.
    id: String,
    /// It may have been removed, and read on since it could not hear of that.
    is_doubtful: bool,
}

/// One life of a member.
struct Life {
    sim: Sim,
    shared: Arc<Shared>,
    client: Client,
    group: String,
    plan: MemberPlan,
    holding: Mutex<Holding>,
}

pub(crate) fn value(record: &ConsumerRecord<'_>) -> u64 {
    u64::from_be_bytes(record.value().unwrap().try_into().unwrap())
}

/// Whether what is seen of a topic is written down.
pub(crate) fn is_recorded(partition: &TopicPartition) -> bool {
    partition.topic.as_str().starts_with("topic")
}

/// What may go wrong while brokers come and go, and members are removed.
#[track_caller]
fn check_error(error: &Error) {
    let is_expected = error.is_retriable()
        || matches!(
            error.kind(),
            ErrorKind::UnknownMemberId
                | ErrorKind::StaleMemberEpoch
                | ErrorKind::UnreleasedInstanceId
                | ErrorKind::TopicDeleted
                | ErrorKind::UnknownTopicOrPartition
        );
    assert!(is_expected, "{error:?}");
}

impl Member {
    /// Is a member until all is over.
    pub(crate) fn run(self) {
        let mut lives = 0;
        while self.shared.phase() != OVER {
            lives += 1;
            match self.join() {
                Some(consumer) => self.live(consumer, lives),
                None => self.sim.sleep(Duration::from_millis(50)),
            }
            if self.shared.phase() == STORM {
                self.sim.sleep(Duration::from_millis(self.sim.random() % 1_000));
            }
        }
        self.shared.finished.fetch_add(1, Ordering::Relaxed);
    }

    fn join(&self) -> Option<Consumer> {
        let plan = &self.plan;
        let mut builder = self
            .cluster
            .consumer()
            .group(&self.group)
            .group_protocol(self.protocol)
            .max_poll_records(plan.max_poll_records)
            .max_poll_interval(plan.max_poll_interval)
            .session_timeout(self.session_timeout)
            .config("default.api.timeout.ms", 5_000);
        if !plan.assignors.is_empty() {
            builder = builder.assignor(&plan.assignors);
        }
        if plan.is_static {
            builder = builder.group_instance_id(&plan.name);
        }
        if let Commits::Auto(interval) = plan.commits {
            builder = builder.enable_auto_commit(true).auto_commit_interval(interval);
        }
        let joined = match &plan.reads {
            Reads::Names(names) => builder.join(names.clone()),
            Reads::Pattern(pattern) => builder.join(Subscription::pattern(pattern)),
        };
        joined.inspect_err(|error| check_error(error)).ok()
    }

    fn live(&self, mut consumer: Consumer, number: u64) {
        let Self { sim, shared, group, plan, .. } = self;
        // All lives of a static member are of one owner.
        let client = match plan.is_static {
            true => self.recorder.client(&plan.name),
            false => self.recorder.client(&format!("{}.{number}", plan.name)),
        };
        let life = Arc::new(Life {
            sim: sim.clone(),
            shared: Arc::clone(shared),
            client,
            group: group.clone(),
            plan: plan.clone(),
            holding: Mutex::new(Holding { begun: sim.elapsed(), ..Holding::default() }),
        });
        life.returned(&consumer);
        if plan.has_hook {
            let life = Arc::clone(&life);
            consumer.on_revoke(move |revocation| life.revoke(revocation));
        }
        let is_over = Arc::new(AtomicU64::new(0));
        if plan.streams {
            let (sim, wakeup, patience) = (sim.clone(), consumer.wakeup(), plan.patience);
            let is_over = Arc::clone(&is_over);
            let _waker = self.sim.spawn("waker", move || {
                while is_over.load(Ordering::Relaxed) == 0 {
                    sim.sleep(patience + Duration::from_millis(1));
                    wakeup.wake();
                }
            });
        }
        let mut kept = Vec::new();
        let mut is_behind = true;
        loop {
            let phase = shared.phase();
            let leaves = plan.leaves > 0 && sim.random().is_multiple_of(plan.leaves);
            if phase == OVER || phase == STORM && leaves {
                break;
            }
            life.give_up();
            life.note_auto_commit();
            if sim.random().is_multiple_of(16) {
                let waited = consumer.wait_assigned(plan.patience);
                waited.inspect_err(|error| check_error(error)).ok();
                life.returned(&consumer);
            }
            let polling = life.client.poll();
            let polled = self.poll(&mut consumer);
            life.returned(&consumer);
            let records = match polled {
                Ok(records) => records,
                Err(error) => {
                    polling.failed();
                    check_error(&error);
                    sim.sleep(Duration::from_millis(10));
                    continue;
                }
            };
            life.rebalanced(&consumer, &records);
            polling.ok(records
                .iter()
                .filter(|record| is_recorded(record.topic_partition()))
                .map(|record| (record.topic_partition(), record.offset(), value(&record))));
            let values = records.iter().map(|record| value(&record));
            shared.given.lock().unwrap().entry(group.clone()).or_default().extend(values);
            is_behind |= !records.is_empty();
            if phase == CALM {
                kept.clear();
                if is_behind && !matches!(plan.commits, Commits::Auto(_)) {
                    is_behind = life.commit(&mut consumer, &records, Commits::Waited, &mut kept);
                }
                sim.sleep(plan.pause);
                continue;
            }
            if !records.is_empty() || !records.rebalances().is_empty() {
                sim.sleep(Duration::from_millis(sim.random() % 5));
                is_behind = life.commit(&mut consumer, &records, plan.commits, &mut kept);
            }
            if plan.stalls > 0 && sim.random().is_multiple_of(plan.stalls) {
                shared.faults.fetch_add(1, Ordering::Relaxed);
                sim.sleep(plan.max_poll_interval.min(Duration::from_secs(2)) * 3 / 2);
            }
            sim.sleep(plan.pause * (sim.random() % 3) as u32);
        }
        self.leave(&life, consumer);
        is_over.store(1, Ordering::Relaxed);
        kept.into_iter().for_each(|(call, commit)| wait(call, commit));
    }

    fn poll(&self, consumer: &mut Consumer) -> brooklet::Result<Records> {
        if !self.plan.streams {
            return consumer.poll(self.plan.patience);
        }
        let next = self.sim.block_on(async { consumer.stream().next().await });
        next.unwrap_or_else(|| Ok(Records::default()))
    }

    /// In one of the ways in which one can.
    fn leave(&self, life: &Life, mut consumer: Consumer) {
        self.shared.faults.fetch_add(1, Ordering::Relaxed);
        life.give_up();
        life.note_auto_commit();
        let held = life.holding.lock().unwrap().held.clone();
        life.gone(held);
        match self.sim.random() % 3 {
            0 => drop(consumer),
            1 => consumer.unsubscribe(),
            _ => _ = consumer.close().inspect_err(|error| check_error(error)),
        }
        life.client.crash();
    }
}

impl Life {
    /// Whether what it has is certainly its own.
    fn is_member(&self, holding: &Holding) -> bool {
        let idle = self.sim.elapsed().saturating_sub(holding.begun);
        let is_removed = self.shared.removed.lock().unwrap().contains(&holding.id);
        let is_in_time = idle + Duration::from_millis(20) < self.plan.max_poll_interval;
        is_in_time && !is_removed && !holding.is_doubtful
    }

    /// These are given back now.
    fn gone(&self, partitions: BTreeSet<TopicPartition>) {
        let (mine, is_member) = {
            let mut holding = self.holding.lock().unwrap();
            holding.held.retain(|partition| !partitions.contains(partition));
            (partitions.into_iter().filter(is_recorded), self.is_member(&holding))
        };
        match is_member {
            true => self.client.revoked(mine),
            false => self.client.lost(mine),
        }
    }

    /// What was announced by the last poll goes with the next.
    fn give_up(&self) {
        let going = {
            let mut holding = self.holding.lock().unwrap();
            holding.is_doubtful = !self.is_member(&holding);
            holding.begun = self.sim.elapsed();
            std::mem::take(&mut holding.going)
        };
        if !going.is_empty() {
            self.gone(going);
        }
    }

    /// A poll has returned.
    fn returned(&self, consumer: &Consumer) {
        let mut holding = self.holding.lock().unwrap();
        holding.positions = consumer.positions();
        if let Ok(metadata) = consumer.group_metadata() {
            holding.id = metadata.member_id;
        }
    }

    /// Before each poll it may commit what the ones before have returned.
    fn note_auto_commit(&self) {
        if matches!(self.plan.commits, Commits::Auto(_)) {
            let positions = self.holding.lock().unwrap().positions.clone();
            drop(self.begin_commit(positions));
        }
    }

    fn begin_commit(&self, positions: BTreeMap<TopicPartition, Offset>) -> Call {
        let positions = positions.into_iter().filter(|(partition, _)| is_recorded(partition));
        self.client.commit(&self.group, positions)
    }

    /// The hook.
    fn revoke(&self, revocation: &Revocation<'_>) {
        let going = revocation.partitions().iter().cloned().collect::<BTreeSet<_>>();
        let commits =
            !matches!(self.plan.commits, Commits::Auto(_)) && !self.sim.random().is_multiple_of(3);
        if commits && !going.is_empty() {
            let mut positions = self.holding.lock().unwrap().positions.clone();
            positions.retain(|partition, _| going.contains(partition));
            let call = self.begin_commit(positions);
            match revocation.commit() {
                Ok(commit) if self.sim.random().is_multiple_of(2) => wait(call, commit),
                Ok(_) => drop(call),
                Err(error) => {
                    check_error(&error);
                    call.end(&Err::<(), _>(error));
                }
            }
        }
        let held = self.holding.lock().unwrap().held.clone();
        self.gone(going.intersection(&held).cloned().collect());
    }

    /// Writes down what a poll has said of the member's partitions.
    fn rebalanced(&self, consumer: &Consumer, records: &Records) {
        let mut fresh = BTreeSet::new();
        let mut lost = BTreeSet::new();
        let mut holding = self.holding.lock().unwrap();
        for event in records.rebalances() {
            for partition in event.partitions() {
                match event {
                    RebalanceEvent::Assigned(_) => _ = fresh.insert(partition.clone()),
                    // The hook has written it down, unless this poll has brought it.
                    RebalanceEvent::Revoked(_) if self.plan.has_hook => _ = fresh.remove(partition),
                    RebalanceEvent::Revoked(_) => _ = holding.going.insert(partition.clone()),
                    _ => {
                        holding.going.remove(partition);
                        if !fresh.remove(partition) {
                            lost.insert(partition.clone());
                        }
                    }
                }
            }
        }
        holding.held.retain(|partition| !lost.contains(partition));
        holding.held.extend(fresh.iter().cloned());
        drop(holding);
        if !lost.is_empty() {
            self.client.lost(lost.iter().filter(|partition| is_recorded(partition)));
        }
        if !fresh.is_empty() {
            let epoch = consumer.group_metadata().map_or(0, |metadata| metadata.epoch);
            let fresh = fresh.into_iter().filter(is_recorded).map(|partition| (partition, None));
            self.client.assigned(&self.group, epoch as u64, fresh);
        }
    }

    /// Commits in one of the ways in which one can. Returns whether there may be more to commit.
    fn commit(
        &self,
        consumer: &mut Consumer,
        records: &Records,
        how: Commits,
        kept: &mut Vec<(Call, Commit)>,
    ) -> bool {
        let all = [Commits::Waited, Commits::Kept, Commits::Dropped, Commits::Through];
        let how = match how {
            Commits::Auto(_) => return true,
            Commits::Mixed => all[self.sim.random() as usize % all.len()],
            how => how,
        };
        if how == Commits::Through {
            let count = records.len().max(1);
            let Some(record) = records.iter().nth(self.sim.random() as usize % count) else {
                return true;
            };
            let next = Offset::new(record.offset().value() + 1).unwrap();
            let at = BTreeMap::from([(record.topic_partition().clone(), next)]);
            let call = self.begin_commit(at);
            let committed = consumer.commit_through(&record).and_then(Commit::wait);
            self.ended(call, committed.map(drop));
            return true;
        }
        let call = self.begin_commit(consumer.positions());
        let commit = match consumer.commit() {
            Ok(commit) => commit,
            Err(error) => {
                self.ended(call, Err(error));
                return true;
            }
        };
        match how {
            Commits::Kept => {
                kept.push((call, commit));
                if kept.len() > self.sim.random() as usize % 8 {
                    kept.drain(..).for_each(|(call, commit)| wait(call, commit));
                }
                true
            }
            Commits::Dropped => true,
            Commits::Awaited => {
                let committed = self.sim.block_on(commit);
                self.ended(call, committed)
            }
            _ => {
                let committed = commit.wait();
                self.ended(call, committed)
            }
        }
    }

    fn ended(&self, call: Call, committed: brooklet::Result<()>) -> bool {
        call.end(&committed);
        committed.inspect_err(|error| check_error(error)).is_err()
    }
}

fn wait(call: Call, mut commit: Commit) {
    let mut committed = commit.wait_timeout(Duration::from_millis(20));
    if committed.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut) {
        committed = commit.wait();
    }
    call.end(&committed);
    committed.inspect_err(|error| check_error(error)).ok();
}
