//! A consumer's view of one partition: its position, and what was fetched ahead of it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::{BrokerId, Bug, ErrorKind, IsolationLevel, LeaderEpoch, Offset};
use crate::base::{Timestamp, TopicId, TopicPartition, is_planted};
use crate::client::consumer::aborted::AbortedBatches;
use crate::client::consumer::records::{Chunk, Records};
use crate::client::consumer::source::Source;
use crate::client::consumer::{AutoOffsetReset, NextOffset, SeekTo, Settings};
use crate::client::{Error, Partition, Result};
use crate::env::sync::Event;
use crate::env::{Moment, Runtime};
use crate::record::{Batch, DecodedBatch, Limits};
use crate::replica::Replica;
use crate::storage::ReadError;

/// Reads one partition.
#[derive(Debug)]
pub(super) struct Fetcher {
    source: Source,
    /// The last batch that was not what had been written.
    bad: Option<Offset>,
    /// The leader's term in which the last batch before the position was written.
    epoch: Option<LeaderEpoch>,
    /// From where on the log is not the one that was read, as long as nobody has sought and nothing is reset.
    differs_from: Option<Offset>,
    isolation: IsolationLevel,
    runtime: Arc<dyn Runtime>,
    /// `None` before the first seek, if there is nothing to begin with otherwise.
    position: Option<Offset>,
    paused: bool,
    /// Others are to read the partition.
    stopped: bool,
    /// Batches that were fetched and not looked at yet.
    ahead: VecDeque<Batch>,
    /// They need no checksum: they have not been to a disk.
    trusted: bool,
    /// Those among them that are not to be seen.
    aborted: AbortedBatches,
    current: Option<Current>,
}

/// What one poll has collected, and how much more it may.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) records: Records,
    /// How many records more.
    pub(super) room: usize,
    /// How many bytes more may be fetched. The first batch is whatever its size.
    pub(super) bytes: usize,
}

impl Collected {
    /// Whether nothing more may be fetched.
    pub(super) fn is_full(&self) -> bool {
        self.bytes == 0 && !self.records.is_empty()
    }
}

/// A batch of which records are still to be handed out.
#[derive(Debug)]
struct Current {
    batch: DecodedBatch,
    /// Where the next record is in the batch's body, and how many there are from there on.
    at: usize,
    remaining: usize,
}

impl Fetcher {
    pub(super) fn new(
        partition: Partition,
        arrived: &Arc<Event>,
        runtime: &Arc<dyn Runtime>,
        settings: &Settings,
        from: Option<NextOffset>,
    ) -> Result<Self> {
        let mut fetcher = Self {
            source: Source::new(partition, arrived, runtime)?,
            bad: None,
            epoch: None,
            differs_from: None,
            isolation: settings.isolation,
            runtime: Arc::clone(runtime),
            position: None,
            paused: false,
            stopped: false,
            ahead: VecDeque::new(),
            trusted: false,
            aborted: AbortedBatches::default(),
            current: None,
        };
        match from {
            Some(from) => {
                (fetcher.position, fetcher.epoch) = (Some(from.offset()), from.leader_epoch());
                fetcher.check_truncation(settings);
            }
            None => match fetcher.start(settings) {
                // It is told by polls, until the application has sought.
                Err(error) if !error.is_retriable() => log::debug!("{error}"),
                start => fetcher.position = start?,
            },
        }
        Ok(fetcher)
    }

    fn leader(&self) -> &Replica {
        self.source.leader()
    }

    /// Where to begin without a position, `None` for nowhere.
    fn start(&self, settings: &Settings) -> Result<Option<Offset>> {
        Ok(match settings.reset {
            AutoOffsetReset::Earliest => Some(self.leader().log().start()),
            AutoOffsetReset::Latest => Some(self.latest()),
            AutoOffsetReset::None => None,
            AutoOffsetReset::ByDuration(time) => {
                let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
                let from = self.runtime.wall_clock().as_millis().saturating_sub(time).max(0);
                let from = Timestamp::from_millis(from).unwrap_or(self.runtime.wall_clock());
                Some(self.at_time(from, &settings.limits)?)
            }
        })
    }

    /// The first record with a timestamp of at least `from`, or the end.
    fn at_time(&self, from: Timestamp, limits: &Limits) -> Result<Offset> {
        let found = self.leader().find_timestamp(from, self.isolation, limits)?;
        Ok(found.map_or_else(|| self.latest(), |found| found.offset))
    }

    /// Whether it reads this life of the partition.
    pub(super) fn reads(&self, partition: &Partition) -> bool {
        self.source.partition().topic().id() == partition.topic().id()
    }

    /// When to look again at what is not told, see [`Source::look_again`].
    pub(super) fn look_again(&self) -> Option<Moment> {
        if self.paused || self.stopped { None } else { self.source.look_again() }
    }

    /// The broker that is read.
    pub(super) fn read_replica(&self) -> BrokerId {
        self.source.replica().broker()
    }

    /// Finds out whom to read from.
    pub(super) fn find_source(&mut self, settings: &Settings) -> Result<()> {
        if self.source.follow_leader()? {
            self.check_truncation(settings);
        }
        let is_idle = !self.paused && self.current.is_none() && self.ahead.is_empty();
        if let Some(position) = self.position
            && is_idle
        {
            self.source.choose(position, settings);
        }
        Ok(())
    }

    /// What was read may not be in the log of the new leader, after an unclean election or the loss of what was not
    /// synced (KIP-320).
    fn check_truncation(&mut self, settings: &Settings) {
        self.differs_from = None;
        let (Some(epoch), Some(position)) = (self.epoch, self.position) else { return };
        let Some(known) = self.leader().log().end_of_epoch(epoch) else { return };
        if known.end >= position {
            return;
        }
        self.ahead.clear();
        self.current = None;
        if settings.reset == AutoOffsetReset::None {
            self.differs_from = Some(known.end);
            return;
        }
        log::warn!(
            "{}: records from {} on were lost, and are read anew",
            self.source.partition(),
            known.end
        );
        self.position = Some(known.end);
    }

    /// Where to read, which is found out now if it could not be before.
    fn begin(&mut self, settings: &Settings) -> Result<Offset> {
        if let (Some(position), Some(end)) = (self.position, self.differs_from) {
            let partition = self.leader().partition();
            let message = format!(
                "{partition} was read up to {position}, but its log now differs from {end} on: seek there"
            );
            return Err(Error::new(ErrorKind::OffsetOutOfRange, message));
        }
        if self.position.is_none() {
            self.position = self.start(settings)?;
        }
        self.position()
    }

    /// # Errors
    /// There is none yet: [`AutoOffsetReset::None`], and nobody has sought.
    pub(super) fn position(&self) -> Result<Offset> {
        self.position.ok_or_else(|| {
            let message = format!("no position in {}: seek first", self.leader().partition());
            Error::new(ErrorKind::OffsetOutOfRange, message)
        })
    }

    /// Behind all that anybody may have seen.
    fn latest(&self) -> Offset {
        self.leader().latest_end(self.isolation)
    }

    /// Behind the last record that is to be seen.
    fn end(&self) -> Offset {
        self.leader().readable_end(self.isolation)
    }

    pub(super) fn lag(&self) -> Result<u64> {
        Ok(self.end().distance_from(self.position()?).unwrap_or(0))
    }

    /// Behind the last record that was handed out, if there is a position.
    pub(super) fn next_offset(&self) -> Option<NextOffset> {
        let position = self.position?;
        let position =
            if is_planted(Bug::PositionsAhead) { position.max(self.end()) } else { position };
        let next = NextOffset::at(position).with_epoch(self.epoch);
        let topic = self.source.partition().topic();
        Some(next.in_topic(topic.name(), topic.id()))
    }

    /// The topic that it reads, in this life.
    pub(super) fn topic(&self) -> TopicId {
        self.source.partition().topic().id()
    }

    /// Hands out no more records. Where it has come to is remembered.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.ahead.clear();
        self.current = None;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(super) fn seek(&mut self, to: SeekTo, limits: &Limits) -> Result<Offset> {
        let position = match to {
            SeekTo::Beginning => self.leader().log().start(),
            SeekTo::End => self.latest(),
            SeekTo::Offset(offset) => offset,
            SeekTo::Timestamp(timestamp) => self.at_time(timestamp, limits)?,
        };
        self.position = Some(position);
        // Nothing is known of what comes before it.
        (self.epoch, self.differs_from) = (None, None);
        self.ahead.clear();
        self.current = None;
        Ok(position)
    }

    /// Bytes that a poll would find: all there can be if it is to find something without fetching, or an error.
    pub(super) fn available(&self, settings: &Settings) -> usize {
        if self.paused || self.stopped {
            return 0;
        }
        let Some(position) = self.position else { return usize::MAX };
        let replica = self.source.replica();
        let is_known = self.current.is_some() || !self.ahead.is_empty();
        if is_known || self.differs_from.is_some() || replica.ended().is_some() {
            return usize::MAX;
        }
        match replica.fetch(position, settings.max_partition_fetch_bytes, self.isolation) {
            Ok(fetched) => fetched.batches.iter().map(|batch| batch.bytes().len()).sum(),
            Err(_) => usize::MAX,
        }
    }

    /// Adds records to `collected` and moves the position behind them.
    pub(super) fn take(
        &mut self,
        partition: &TopicPartition,
        settings: &Settings,
        collected: &mut Collected,
    ) -> Result<()> {
        if self.stopped {
            return Ok(());
        }
        self.find_source(settings)?;
        if self.source.is_leaderless() {
            return Ok(());
        }
        let topic = self.topic();
        while !self.paused && collected.room > 0 {
            match &mut self.current {
                Some(current) => {
                    let chunk = current.take((topic, partition), collected.room);
                    collected.room -= chunk.count();
                    self.epoch = current.batch.header().leader_epoch();
                    if current.remaining == 0 {
                        self.position = Some(current.batch.header().next_offset());
                        self.current = None;
                    } else if let Some(next) = current.batch.read_at(current.at) {
                        self.position = Some(next.0.offset);
                    }
                    collected.records.push(chunk);
                }
                None => match self.next_batch(settings, collected)? {
                    Some(batch) => self.current = Some(batch),
                    None => break,
                },
            }
        }
        Ok(())
    }

    /// The next batch with records at or behind the position.
    fn next_batch(
        &mut self,
        settings: &Settings,
        collected: &mut Collected,
    ) -> Result<Option<Current>> {
        loop {
            if self.ahead.is_empty() && !self.fetch(settings, collected)? {
                return Ok(None);
            }
            // As it is after the fetch, which may have reset it.
            let position = self.position()?;
            let Some(batch) = self.ahead.front() else { return Ok(None) };
            let offset = batch.header().base_offset();
            let checked = match self.trusted || !settings.check_crcs {
                true => Ok(()),
                false => batch.verify_crc(),
            };
            let (next, epoch) = (batch.header().next_offset(), batch.header().leader_epoch());
            let decoded = checked.and_then(|()| match self.aborted.hide(batch)? {
                true => Ok(None),
                false => batch.decode(&settings.limits).map(Some),
            });
            let decoded = match decoded {
                Err(source) if !self.source.is_leader() => {
                    // The leader has it as it was written.
                    self.source.leave_damaged(&ReadError::Corrupt { offset, source });
                    self.ahead.clear();
                    continue;
                }
                Err(_) if self.heal(offset) => {
                    self.ahead.clear();
                    continue;
                }
                // A bad batch stays in front, so that the error comes until the application has sought past it.
                decoded => decoded
                    .map_err(|source| self.in_partition(ReadError::Corrupt { offset, source }))?,
            };
            self.ahead.pop_front();
            match decoded.and_then(|decoded| Current::from(decoded, position)) {
                Some(current) => return Ok(Some(current)),
                // Of an aborted transaction, control records, or emptied by compaction: nothing for applications.
                None => (self.position, self.epoch) = (Some(position.max(next)), epoch),
            }
        }
    }

    /// Fetches batches from the position on. `false` if there are none yet, or the poll has enough.
    fn fetch(&mut self, settings: &Settings, collected: &mut Collected) -> Result<bool> {
        if collected.is_full() {
            return Ok(false);
        }
        let position = self.begin(settings)?;
        let max_bytes = settings.max_partition_fetch_bytes.min(collected.bytes);
        let mut fetched = self.source.fetch(position, max_bytes, self.isolation);
        if matches!(fetched, Err(ReadError::OutOfRange { .. }))
            && let Some(start) = self.start(settings)?
        {
            (self.position, self.epoch) = (Some(start), None);
            fetched = self.source.fetch(start, max_bytes, self.isolation);
        }
        if let Err(ReadError::Corrupt { offset, .. }) = &fetched
            && self.heal(*offset)
        {
            fetched = self.source.fetch(self.position()?, max_bytes, self.isolation);
        }
        // Looked at afterwards: the files of a topic that was deleted meanwhile may be those of another.
        if !self.source.check_leader()? {
            return Ok(false);
        }
        let fetched = fetched.map_err(|error| self.in_partition(error))?;
        let bytes = fetched.batches.iter().map(|batch| batch.bytes().len()).sum();
        collected.bytes = collected.bytes.saturating_sub(bytes);
        self.trusted = fetched.trusted;
        // For as long as its batches are kept, over however many polls (D5).
        self.aborted = AbortedBatches::new(fetched.aborted);
        self.ahead = fetched.batches.into();
        Ok(!self.ahead.is_empty())
    }

    /// Whether the leader got from another replica what is to be in the place of the batch at `offset`. Tried once for each.
    fn heal(&mut self, offset: Offset) -> bool {
        self.bad.replace(offset) != Some(offset) && !self.leader().heal().is_empty()
    }

    fn in_partition(&self, error: ReadError) -> Error {
        let partition = self.leader().partition();
        match error {
            ReadError::OutOfRange { offset, start, end } => {
                let message = format!("{partition} has offsets {start} to {end}, not {offset}");
                Error::new(ErrorKind::OffsetOutOfRange, message)
            }
            error => Error::of_read(self.source.replica(), error),
        }
    }
}

impl Current {
    /// The part of `batch` from `position` on, if it has records for applications.
    fn from(batch: DecodedBatch, position: Offset) -> Option<Self> {
        let count = usize::try_from(batch.header().record_count()).ok()?;
        if count == 0 || batch.header().is_control() {
            return None;
        }
        let mut current = Self { batch, at: 0, remaining: count };
        if current.batch.header().base_offset() < position {
            while let Some((record, next)) = current.batch.read_at(current.at) {
                if record.offset >= position {
                    break;
                }
                current.at = next;
                current.remaining = current.remaining.saturating_sub(1);
            }
        }
        (current.remaining > 0).then_some(current)
    }

    /// Splits off the next `room` records.
    fn take(&mut self, (topic, partition): (TopicId, &TopicPartition), room: usize) -> Chunk {
        let count = self.remaining.min(room);
        let chunk = Chunk::new((topic, partition.clone()), self.batch.clone(), self.at, count);
        self.remaining -= count;
        if self.remaining > 0 {
            for _ in 0..count {
                let Some((_, next)) = self.batch.read_at(self.at) else { break };
                self.at = next;
            }
        }
        chunk
    }
}
