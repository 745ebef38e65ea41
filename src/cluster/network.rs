//! How the replicas of a partition reach each other, and whatever keeps them from it.
//!
//! What goes between two brokers goes through here as a value: a request of a follower, what its leader answers, what
//! the follower says of itself then. In one process that is a call. A broker can be cut off from another, or a follower
//! be paused or slowed down, for tests.
//!
//! # Locks
//! None is held while a replica is called. `faults` is a leaf.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::base::{BrokerId, Bug, LeaderEpoch, PartitionId, TopicId, is_planted};
use crate::cluster::brokers::{Broker, Brokers};
use crate::cluster::keeper::{Failed, LagWatch, News, OutdatedIsr};
use crate::cluster::metadata::{Image, without};
use crate::cluster::metadata_log::METADATA_ID;
use crate::cluster::store::Store;
use crate::cluster::{BrokerConfig, ClusterError, Core, Drive};
use crate::env::sync::{Event, Mutex, RwLock};
use crate::env::{Moment, Runtime};
use crate::replica::{FetchError, FollowError, Followed, Follower, FollowerEnd, Peers, Replica};
use crate::storage::{Damage, ReadError, Repaired, StorageError};

/// The way between brokers.
#[derive(Debug)]
pub(crate) struct Network {
    me: Weak<Self>,
    /// They hold on to this.
    brokers: Weak<Brokers>,
    image: Arc<RwLock<Image>>,
    runtime: Arc<dyn Runtime>,
    /// Most that a follower gets of a partition at once.
    max_bytes: usize,
    backoff: Duration,
    /// How soon followers hear of a high watermark that has risen.
    news_delay: Duration,
    core: OnceLock<Weak<Core>>,
    /// Followers copy: not while it is not yet known who leads.
    open: AtomicBool,
    faults: Mutex<Faults>,
    /// Notified when no step of a broker's followers is under way any more.
    at_rest: Event,
}

/// What is wrong with the network, because somebody wants it so.
#[derive(Debug, Default)]
struct Faults {
    cut: BTreeSet<(BrokerId, BrokerId)>,
    /// Followers that do not copy, or only after a while.
    delays: BTreeMap<BrokerId, Option<Duration>>,
    /// How many steps of followers on each broker are under way.
    steps: BTreeMap<BrokerId, usize>,
}

impl Faults {
    fn delay(&self, broker: BrokerId) -> Option<Duration> {
        self.delays.get(&broker).copied().unwrap_or(Some(Duration::ZERO))
    }
}

impl Network {
    pub(super) fn new(
        brokers: &Arc<Brokers>,
        image: Arc<RwLock<Image>>,
        config: &BrokerConfig,
        runtime: Arc<dyn Runtime>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            brokers: Arc::downgrade(brokers),
            image,
            runtime,
            max_bytes: config.replica_fetch_max_bytes,
            backoff: config.replica_fetch_backoff,
            news_delay: config.replica_fetch_wait_max,
            core: OnceLock::new(),
            open: AtomicBool::new(false),
            faults: Mutex::default(),
            at_rest: Event::new(),
        })
    }

    /// From now on there is somebody to ask for changes.
    pub(super) fn attach(&self, core: &Arc<Core>) {
        let _first = self.core.set(Arc::downgrade(core));
    }

    /// Followers may copy from now on.
    pub(super) fn begin(&self) {
        self.open.store(true, Ordering::Release);
    }

    fn store(&self, broker: BrokerId) -> Option<Arc<Store>> {
        self.brokers.upgrade()?.store(broker)
    }

    fn broker(&self, id: BrokerId) -> Option<Arc<Broker>> {
        self.brokers.upgrade()?.get(id)
    }

    pub(super) fn core(&self) -> Option<Arc<Core>> {
        self.core.get()?.upgrade()
    }

    /// The replica of a partition on a broker that runs, opened if it is not yet.
    pub(super) fn replica(
        &self,
        broker: BrokerId,
        id: TopicId,
        partition: PartitionId,
    ) -> Result<Option<Arc<Replica>>, ClusterError> {
        let Some(broker) = self.broker(broker) else { return Ok(None) };
        if id == METADATA_ID {
            return Ok(broker.store().and_then(|store| store.metadata()));
        }
        let Some(store) = broker.settled_store() else { return Ok(None) };
        let Some(topic) = self.image.read().by_id(id).cloned() else { return Ok(None) };
        let current = || self.image.read().by_id(id).cloned();
        store.replica(&topic, partition, current).map(Some)
    }

    /// Whether what one broker says reaches the other.
    fn is_linked(&self, one: BrokerId, other: BrokerId) -> bool {
        let faults = self.faults.lock();
        !faults.cut.contains(&(one.min(other), one.max(other)))
    }

    /// Whether a follower hears of what its leader has.
    pub(super) fn reaches(&self, leader: BrokerId, follower: BrokerId) -> bool {
        self.is_linked(leader, follower) && self.delay(follower).is_some()
    }

    /// How long a follower takes to copy, on purpose; `None` for ever.
    fn delay(&self, broker: BrokerId) -> Option<Duration> {
        self.faults.lock().delay(broker)
    }

    /// Cuts two brokers off from each other, or connects them again.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn set_cut(&self, one: BrokerId, other: BrokerId, cut: bool) {
        let link = (one.min(other), one.max(other));
        let mut faults = self.faults.lock();
        match cut {
            true => _ = faults.cut.insert(link),
            false => _ = faults.cut.remove(&link),
        }
        drop(faults);
        self.faults_changed();
    }

    /// Has a broker's replicas copy only this long after they could; `None` for not at all. What they are at when this is
    /// called is done when it returns, unless it takes longer than a second.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn set_delay(&self, broker: BrokerId, delay: Option<Duration>) {
        {
            let mut faults = self.faults.lock();
            match delay {
                Some(Duration::ZERO) => faults.delays.remove(&broker),
                delay => faults.delays.insert(broker, delay),
            };
        }
        let deadline = self.runtime.now().after(Duration::from_secs(1));
        loop {
            let listener = self.at_rest.listen();
            let is_at_rest = !self.faults.lock().steps.contains_key(&broker);
            if is_at_rest || !self.runtime.park(listener, deadline) {
                break;
            }
        }
        self.faults_changed();
    }

    #[cfg(any(test, feature = "sim"))]
    fn faults_changed(&self) {
        self.wake_all();
        for store in self.brokers.upgrade().iter().flat_map(|brokers| brokers.stores()) {
            store.replicas().iter().for_each(|replica| replica.notify_watchers());
        }
    }

    /// Has all followers look whether there is something for them.
    pub(super) fn wake_all(&self) {
        for store in self.brokers.upgrade().iter().flat_map(|brokers| brokers.stores()) {
            let metadata = store.metadata();
            for replica in store.replicas().into_iter().chain(metadata) {
                replica.wake_followers();
            }
        }
    }

    /// One step of a follower that is to copy after `delay`: asks its leader for what comes next, and takes it. What may take
    /// long is left to those who have the time.
    fn step(
        &self,
        follower: &FollowerTask,
        has_time: bool,
        delay: Duration,
    ) -> Result<Step, ClusterError> {
        let Some(_under_way) = UnderWay::begin(self, follower, delay) else {
            return Ok(Step::More);
        };
        if !self.open.load(Ordering::Acquire) && follower.id != METADATA_ID {
            return Ok(Step::Later);
        }
        let Some(broker) = self.broker(follower.broker) else { return Ok(Step::Done) };
        let opened = self.replica(follower.broker, follower.id, follower.partition);
        let Some(replica) = opened.or_else(|error| self.begin_anew(follower, error))? else {
            return Ok(Step::Done);
        };
        let (leader, epoch) = replica.led_by();
        if epoch < follower.epoch {
            // It is about to be told who leads.
            return Ok(Step::Later);
        }
        let Some(leader) = leader else { return Ok(Step::Done) };
        if leader == follower.broker {
            return Ok(Step::Done);
        }
        if !self.is_linked(leader, follower.broker) {
            return Ok(Step::Done);
        }
        let Some(leader) = self.replica(leader, follower.id, follower.partition)? else {
            return Ok(Step::Done);
        };
        if replica.is_damaged() {
            return if has_time { self.repair(&replica, &leader) } else { Ok(Step::Later) };
        }
        let Some(request) = replica.fetch_request(broker.incarnation()) else {
            return Ok(Step::Done);
        };
        let served = match leader.serve(&request, self.max_bytes) {
            Ok(served) => served,
            // One of them does not know yet who leads. Whoever changed that tells them.
            Err(FetchError::NotLeader) => return Ok(Step::Later),
            Err(FetchError::UnknownFollower) => return Ok(Step::Done),
            Err(FetchError::Read(ReadError::Corrupt { .. }))
                if has_time && !leader.heal().is_empty() =>
            {
                return Ok(Step::More);
            }
            Err(FetchError::Read(error)) => return Err(error.into()),
        };
        match replica.follow(&request, served) {
            Ok(Followed::Copied(said)) => {
                self.report(&leader, &said);
                Ok(Step::More)
            }
            Ok(Followed::Cut) => Ok(Step::More),
            Ok(Followed::UpToDate) => Ok(Step::Done),
            Err(FollowError::Stale) => Ok(Step::Later),
            Err(FollowError::Append(error)) => {
                self.failed(&replica);
                Err(ClusterError::NotRecorded(error.into()))
            }
            Err(FollowError::Storage(error)) => {
                self.failed(&replica);
                Err(error.into())
            }
        }
    }

    /// A follower whose log was damaged takes what is missing from its leader.
    fn repair(&self, replica: &Replica, leader: &Replica) -> Result<Step, ClusterError> {
        let repaired = replica.repair_from(leader)?;
        if let Some(store) = self.store(replica.broker()) {
            store.note_repaired(replica.partition(), &repaired.repaired);
        }
        match repaired.left.first() {
            None => Ok(Step::More),
            Some(damage) => {
                log::error!("not to be repaired from broker {}: {damage}", leader.broker());
                Ok(Step::Done)
            }
        }
    }

    /// A follower whose files are of no use at all begins with none, if others have what it should have.
    fn begin_anew(
        &self,
        follower: &FollowerTask,
        error: ClusterError,
    ) -> Result<Option<Arc<Replica>>, ClusterError> {
        let FollowerTask { broker, id, partition, .. } = *follower;
        let topic = self.image.read().by_id(id).cloned();
        let known = topic.as_ref().and_then(|topic| topic.partition(partition));
        let is_dispensable =
            known.is_some_and(|known| known.leader.is_some() && !known.isr.contains(&broker));
        match (self.store(broker), &topic, &error) {
            (_, _, ClusterError::NoReplica { .. } | ClusterError::TopicDeleted(_)) => Ok(None),
            (Some(store), Some(topic), ClusterError::Storage(StorageError::Damaged { .. }))
                if is_dispensable =>
            {
                log::error!("{error}: its replica on broker {broker} is made anew");
                store.discard(topic, partition)?;
                self.replica(broker, id, partition)
            }
            _ => Err(error),
        }
    }

    fn report(&self, leader: &Replica, said: &FollowerEnd) {
        if self.is_linked(leader.broker(), said.broker) {
            // A leader that is one no longer does not care.
            let _ = leader.heard(said);
        }
    }
}

impl Peers for Network {
    fn follower(&self, leader: &Replica, broker: BrokerId) -> Arc<dyn Follower> {
        Arc::new_cyclic(|me| FollowerTask {
            me: Weak::clone(me),
            network: Weak::clone(&self.me),
            broker,
            id: leader.topic_id(),
            partition: leader.partition().partition,
            epoch: leader.led_by().1,
            queued: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
            busy: AtomicBool::new(false),
        })
    }

    fn synced(&self, follower: &Replica) {
        let Some(broker) = self.broker(follower.broker()) else { return };
        // Before it is known that this life of the replica has not ended: it is not to speak for the next.
        let incarnation = broker.incarnation();
        if follower.ended().is_some() {
            return;
        }
        let Some(said) = follower.as_follower(incarnation) else { return };
        let Some(leader) = follower.led_by().0 else { return };
        let leader = self.replica(leader, follower.topic_id(), follower.partition().partition);
        if let Ok(Some(leader)) = leader {
            self.report(&leader, &said);
        }
    }

    fn isr_is_outdated(&self, leader: &Arc<Replica>) -> bool {
        let core = self.core();
        if let Some(core) = &core {
            core.keeper().submit(Arc::new(OutdatedIsr::new(core, leader)), None);
        }
        core.is_some()
    }

    fn watch_lag(&self, leader: &Arc<Replica>, at: Moment) -> bool {
        let core = self.core();
        if let Some(core) = &core {
            core.keeper().submit(Arc::new(LagWatch::new(leader)), Some(at));
        }
        core.is_some()
    }

    fn has_news(&self, leader: &Arc<Replica>) -> bool {
        let core = self.core();
        if let Some(core) = &core {
            let at = self.runtime.now().after(self.news_delay);
            core.keeper().submit(Arc::new(News::new(leader)), at);
        }
        core.is_some()
    }

    fn is_read(&self, follower: &Replica) {
        let Some(leader) = follower.led_by().0 else { return };
        let leader = self.replica(leader, follower.topic_id(), follower.partition().partition);
        if let Ok(Some(leader)) = leader {
            leader.wake_follower(follower.broker());
        }
    }

    fn heal(&self, replica: &Replica) -> Vec<Damage> {
        let (me, id, partition) =
            (replica.broker(), replica.topic_id(), replica.partition().partition);
        let others = match replica.led_by().0 {
            _ if id == METADATA_ID => Vec::new(),
            Some(leader) if leader != me => vec![leader],
            Some(_) => without(&replica.state().isr, &[me]),
            None => Vec::new(),
        };
        let mut all = Vec::new();
        for other in others.into_iter().filter(|other| self.is_linked(me, *other)) {
            let Ok(Some(other)) = self.replica(other, id, partition) else { continue };
            let healed = replica.repair_from(&other);
            let healed = healed.inspect_err(|e| log::warn!("{}: {e}", replica.partition()));
            let Ok(Repaired { repaired, left }) = healed else { break };
            all.extend(repaired);
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|damage| log::error!("not to be repaired: {damage}"));
        }
        if let Some(store) = self.store(me).filter(|_| !all.is_empty()) {
            store.note_repaired(replica.partition(), &all);
        }
        all
    }

    fn failed(&self, replica: &Replica) {
        // Its leader waits for it no longer, however near it was.
        self.synced(replica);
        if let Some(core) = self.core() {
            if replica.topic_id() == METADATA_ID && !is_planted(Bug::FailedMembersCount) {
                // Not on the keeper's thread: it may be waiting for something that waits for this.
                core.controller().log().lose_members(&[replica.broker()]);
            }
            core.keeper().submit(Arc::new(Failed::new(&core, replica)), None);
        }
    }
}

/// A step of a follower that those wait for who are about to hold it up.
struct UnderWay<'a> {
    network: &'a Network,
    broker: BrokerId,
}

impl<'a> UnderWay<'a> {
    /// Unless it is to be held up by now.
    fn begin(network: &'a Network, follower: &FollowerTask, delay: Duration) -> Option<Self> {
        let broker = follower.broker;
        let mut faults = network.faults.lock();
        if follower.id != METADATA_ID && faults.delay(broker) != Some(delay) {
            return None;
        }
        *faults.steps.entry(broker).or_default() += 1;
        Some(Self { network, broker })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut faults = self.network.faults.lock();
        if let Some(steps) = faults.steps.get_mut(&self.broker) {
            *steps -= 1;
            if *steps == 0 {
                faults.steps.remove(&self.broker);
                self.network.at_rest.notify(usize::MAX);
            }
        }
    }
}

/// What comes after a step of a follower.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// There may be more to copy.
    More,
    /// Somebody else is at it, or it is not time yet.
    Later,
    /// There is nothing to do until it is told so.
    Done,
}

/// A follower of a partition: copies what there is, on whichever thread.
#[derive(Debug)]
struct FollowerTask {
    me: Weak<Self>,
    network: Weak<Network>,
    broker: BrokerId,
    id: TopicId,
    partition: PartitionId,
    /// The leader's term.
    epoch: LeaderEpoch,
    /// Its broker's fetcher has been asked, and has not begun.
    queued: AtomicBool,
    /// It was asked to begin late, since it is to be slow.
    is_late: AtomicBool,
    /// Somebody is at it.
    busy: AtomicBool,
}

/// How long a follower waits that another thread is busy with.
const LATER: Duration = Duration::from_micros(200);

/// How many steps a caller takes who waits for an acknowledgement. It is to wait, not to do all the work.
const MAX_HELP: usize = 8;

impl FollowerTask {
    /// How long it takes to copy, on purpose. The metadata is not held up: everything else would be.
    fn delay(&self, network: &Network) -> Option<Duration> {
        if self.id == METADATA_ID { Some(Duration::ZERO) } else { network.delay(self.broker) }
    }

    fn take(&self) -> bool {
        !self.busy.swap(true, Ordering::SeqCst)
    }

    fn leave(&self) {
        self.busy.store(false, Ordering::SeqCst);
    }

    fn submit(&self, network: &Network, due: Option<Moment>) {
        if let Some(store) = network.store(self.broker)
            && let Some(me) = self.me.upgrade()
            && !self.queued.swap(true, Ordering::SeqCst)
        {
            self.is_late.store(due.is_some(), Ordering::SeqCst);
            store.fetcher().submit(me, due);
        }
    }
}

impl Follower for FollowerTask {
    fn broker(&self) -> BrokerId {
        self.broker
    }

    fn wake(&self) {
        let Some(network) = self.network.upgrade() else { return };
        match self.delay(&network) {
            Some(Duration::ZERO) => self.submit(&network, None),
            Some(delay) => self.submit(&network, network.runtime.now().after(delay)),
            None => {}
        }
    }

    fn help(&self) {
        let Some(network) = self.network.upgrade() else { return };
        let is_quick = self.delay(&network) == Some(Duration::ZERO);
        if !is_quick || !self.take() {
            self.wake();
            return;
        }
        let mut steps = (0..MAX_HELP).map(|_| network.step(self, false, Duration::ZERO));
        let last = steps.find(|step| !matches!(step, Ok(Step::More)));
        self.leave();
        if !matches!(last, Some(Ok(Step::Done))) {
            self.wake();
        }
    }
}

impl Drive for FollowerTask {
    fn drive(&self, now: Moment) -> Option<Moment> {
        let is_late = self.is_late.load(Ordering::SeqCst);
        // Before the first look: who has news from now on asks again.
        self.queued.store(false, Ordering::SeqCst);
        let network = self.network.upgrade()?;
        let delay = self.delay(&network)?;
        if now == Moment::since_start(Duration::MAX) {
            return None;
        }
        let again = |after| {
            self.is_late.store(true, Ordering::SeqCst);
            self.queued.store(true, Ordering::SeqCst);
            network.runtime.now().after(after)
        };
        if delay > Duration::ZERO && !is_late {
            // It was asked before it was to be slow.
            return again(delay);
        }
        if !self.take() {
            return again(LATER);
        }
        let step = loop {
            match network.step(self, true, delay) {
                // It may be held up by now.
                Ok(Step::More) if self.delay(&network) == Some(delay) => {}
                step => break step,
            }
        };
        self.leave();
        match step {
            Ok(Step::More) => again(self.delay(&network)?),
            Ok(Step::Later) => again(LATER),
            Ok(Step::Done) => None,
            Err(error) => {
                log::warn!("the follower on broker {} tries again: {error}", self.broker);
                again(network.backoff)
            }
        }
    }
}
