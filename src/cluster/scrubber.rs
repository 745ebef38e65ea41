//! The background scrub of a store: all partitions are read and checked, one after the other, over and over, at a rate.
//!
//! A partition is opened when its turn comes; what is not on the disk is left alone. Nothing is locked while bytes are
//! read, and files are given back as those of readers are.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::TopicPartition;
use crate::cluster::metadata::Image;
use crate::cluster::store::Store;
use crate::env::sync::{Mutex, RwLock};
use crate::env::{Moment, Next, Runtime, Task};
use crate::replica::Replica;
use crate::storage::{LogScrub, ScrubReport};

/// Bytes read at a time, at most.
const STEP_BYTES: u64 = 1 << 20;

/// So many times a second something is read.
const STEPS: u64 = 4;

/// From one round to the next.
const PAUSE: Duration = Duration::from_secs(60);

type Found = Arc<Mutex<BTreeMap<TopicPartition, ScrubReport>>>;

/// The scrub of a store, and what it found in each partition when it last read it.
#[derive(Debug, Default)]
pub(super) struct Scrubbing {
    found: Found,
    task: Mutex<Option<Task>>,
}

impl Scrubbing {
    pub(super) fn start(
        &self,
        store: &Arc<Store>,
        image: Arc<RwLock<Image>>,
        runtime: &Arc<dyn Runtime>,
        rate: NonZeroU64,
    ) {
        let mut turn = Turn {
            store: Arc::downgrade(store),
            image,
            runtime: Arc::clone(runtime),
            rate,
            found: Arc::clone(&self.found),
            left: Vec::new(),
            current: None,
        };
        match runtime.spawn("brooklet-scrubber", Box::new(move || turn.step())) {
            Ok(task) => *self.task.lock() = Some(task),
            Err(error) => log::warn!("no thread for the scrub, which is left out: {error}"),
        }
    }

    pub(super) fn report(&self) -> ScrubReport {
        let mut all = ScrubReport::default();
        self.found.lock().values().for_each(|found| all += found.clone());
        all
    }

    pub(super) fn close(&self, deadline: Moment) {
        let task = self.task.lock().take();
        if task.is_some_and(|task| !task.end(deadline)) {
            log::warn!("the scrub did not end in time");
        }
    }
}

/// What the scrub's thread knows between two steps.
struct Turn {
    store: Weak<Store>,
    image: Arc<RwLock<Image>>,
    runtime: Arc<dyn Runtime>,
    rate: NonZeroU64,
    found: Found,
    /// Partitions that are to be read in this round, the next one last.
    left: Vec<TopicPartition>,
    current: Option<(Arc<Replica>, LogScrub)>,
}

impl Turn {
    fn step(&mut self) -> Next {
        let began = self.runtime.now();
        let Some((replica, mut scrub)) = self.current.take().or_else(|| self.next_partition())
        else {
            return Next::Park(began.after(PAUSE));
        };
        let rate = self.rate.get();
        match scrub.step(replica.log(), (rate / STEPS).clamp(1, STEP_BYTES)) {
            Ok(0) => self.note(&replica, scrub.report),
            Ok(read) => {
                self.current = Some((replica, scrub));
                let time = Duration::from_micros(read.saturating_mul(1_000_000) / rate);
                return Next::Park(began.after(time));
            }
            // Its files are gone if it was deleted meanwhile.
            Err(error) if replica.ended().is_none() => {
                log::warn!("{} was not scrubbed: {error}", replica.partition());
            }
            Err(_) => {}
        }
        if self.left.is_empty() { Next::Park(began.after(PAUSE)) } else { Next::Again }
    }

    /// The next partition that can be opened. Begins a round if there is none under way.
    fn next_partition(&mut self) -> Option<(Arc<Replica>, LogScrub)> {
        let store = self.store.upgrade()?;
        if self.left.is_empty() {
            self.left = store.partitions_on_disk().inspect_err(|e| log::warn!("{e}")).ok()?;
            self.left.reverse();
            self.found.lock().retain(|partition, _| self.left.contains(partition));
        }
        while let Some(partition) = self.left.pop() {
            if let Some(replica) = self.open(&store, &partition) {
                return Some((replica, LogScrub::default()));
            }
        }
        None
    }

    fn open(&self, store: &Store, partition: &TopicPartition) -> Option<Arc<Replica>> {
        let current = || {
            let image = self.image.read();
            let topic = image.topic(partition.topic.as_str())?;
            topic.partition(partition.partition).map(|_| Arc::clone(topic))
        };
        let topic = current()?;
        // Who uses the partition is told too.
        let opened = store.replica(&topic, partition.partition, current);
        opened.inspect_err(|error| log::warn!("{partition} was not scrubbed: {error}")).ok()
    }

    fn note(&self, replica: &Replica, mut report: ScrubReport) {
        for damage in &report.damages {
            log::error!("{damage}");
        }
        if !report.damages.is_empty() {
            report.repaired = replica.heal();
            report.damages.retain(|damage| !report.repaired.contains(damage));
        }
        self.found.lock().insert(replica.partition().clone(), report);
    }
}
