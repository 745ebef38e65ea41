//! Opening a cluster: all stores together, from the newest metadata among them.
//!
//! 1. Take possession of every store; new ones become part of the cluster that the others are of.
//! 2. Read the metadata log of each. The newest says who has to be there: a store that is missing may know of later
//!    changes, which would be lost without a word.
//! 3. Its broker takes office as the controller, of another incarnation: all leader epochs rise.
//! 4. Open what was not closed. Of replicas in sync that were left in the middle of things, the one with the longest log
//!    leads: it has all that was acknowledged, and the most of what was not. If another has all of that and more, the one
//!    in sync has lost what it had not synced, and the other leads.
//! 5. Only then do followers copy, and cut what their leaders do not have.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use crate::base::{BrokerId, FlushPolicy, Offset, PartitionId, TopicId, TopicPartition};
use crate::cluster::brokers::{Broker, BrokerPlace, Brokers};
use crate::cluster::change::Change;
use crate::cluster::controller::Controller;
use crate::cluster::core::{Core, metadata_topic};
use crate::cluster::keeper::Rebalance;
use crate::cluster::metadata::{Image, PartitionImage, without};
use crate::cluster::metadata_log::{MetadataLog, damaged};
use crate::cluster::metadata_repair::repair_metadata;
use crate::cluster::network::Network;
use crate::cluster::producer_ids::ProducerIds;
use crate::cluster::sender::Sender;
use crate::cluster::store::{OpenStore, Store, is_store, resolve};
use crate::cluster::{BrokerConfig, ClusterError};
use crate::env::sync::{Mutex, RwLock};
use crate::env::{BufferPool, Runtime};
use crate::replica::Replica;
use crate::storage::StorageError;

/// Bytes of empty buffers kept for the producers.
const POOL_BYTES: usize = 8 << 20;

/// What a cluster is opened with.
#[derive(Debug)]
pub(crate) struct OpenCluster {
    pub(crate) brokers: Vec<OpenBroker>,
    /// Whether empty or missing directories become stores.
    pub(crate) create_if_missing: bool,
    /// Goes on without stores that are missing, and whatever they alone know.
    pub(crate) accept_metadata_loss: bool,
    pub(crate) config: BrokerConfig,
    pub(crate) runtime: Arc<dyn Runtime>,
}

/// A broker that is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct OpenBroker {
    /// `None` for whichever it is.
    pub(crate) id: Option<BrokerId>,
    pub(crate) place: BrokerPlace,
}

impl Core {
    pub(crate) fn open(how: OpenCluster) -> Result<Arc<Self>, ClusterError> {
        let OpenCluster { config, runtime, .. } = how;
        let config = Arc::new(config);
        let brokers = Arc::new(Brokers::default());
        let published = Arc::new(RwLock::new(Image::new(Arc::clone(&config))));
        let pool = Arc::new(BufferPool::new(POOL_BYTES));
        let network = Network::new(&brokers, Arc::clone(&published), &config, Arc::clone(&runtime));
        let opening =
            Opening { config: &config, runtime: &runtime, pool: &pool, network: &network };
        let opened = opening.stores(how.brokers, how.create_if_missing)?;
        for (place, store) in opened {
            let broker = Broker::new(store.broker(), place, &runtime);
            broker.begin(store);
            brokers.add(&broker);
        }
        let stores = brokers.stores();
        for store in &stores {
            store.open_metadata(&metadata_topic(store.broker())?)?;
        }
        let members = known_members(&stores, &config, how.accept_metadata_loss)?;
        let id = stores.first().map(|store| store.cluster()).ok_or(ClusterError::NoController)?;
        let controller = Controller::new(
            Arc::clone(&brokers),
            published,
            Arc::clone(&config),
            Arc::clone(&runtime),
            how.accept_metadata_loss,
        );
        controller.open(&members)?;
        let core = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            id,
            alarms: Arc::new(Sender::new("brooklet-alarms", Arc::clone(&runtime))),
            keeper: Arc::new(Sender::new("brooklet-keeper", Arc::clone(&runtime))),
            runtime,
            brokers,
            network,
            controller,
            config,
            pool,
            others: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        core.network.attach(&core);
        match core.begin(&stores, how.accept_metadata_loss) {
            Ok(()) => Ok(core),
            Err(error) => {
                core.abandon();
                Err(error)
            }
        }
    }

    /// Opens the replicas, with a controller in office.
    fn begin(self: &Arc<Self>, stores: &[Arc<Store>], with_loss: bool) -> Result<(), ClusterError> {
        for store in stores {
            self.register(store)?;
        }
        for store in stores {
            self.load(store)?;
        }
        if with_loss {
            self.outlive_lost_terms()?;
        }
        self.elect_at_open(stores)?;
        self.network.begin();
        self.see_to_followers();
        if self.config.rebalance_leaders && stores.len() > 1 {
            let at = self.runtime.now().after(self.config.leader_check_interval);
            self.keeper.submit(Arc::new(Rebalance::new(self)), at);
        }
        Ok(())
    }

    /// Has the metadata say where a broker's replicas are.
    pub(super) fn register(&self, store: &Store) -> Result<(), ClusterError> {
        let broker = store.broker();
        let rack = self.brokers.get(broker).and_then(|broker| broker.place.rack.clone());
        let directory = store.directory();
        self.controller.submit(Change::RegisterBroker { broker, directory, rack }).map(drop)
    }

    /// Goes through the directories of a store.
    pub(super) fn load(&self, store: &Arc<Store>) -> Result<(), ClusterError> {
        let image = self.controller.with_image(|image| image.clone());
        store.load(&image)?;
        if let Some(rate) = self.config.scrub_rate {
            store.scrub_in_background(rate, self.controller.published());
        }
        Ok(())
    }

    /// Metadata was lost that may have known of later terms than what is left does, of leaders and of controllers. Those
    /// in which something was written are found in the logs, and all to come are later: else followers could not tell
    /// whose records are whose, and producers would have ids that others had.
    fn outlive_lost_terms(&self) -> Result<(), ClusterError> {
        let partitions = self.controller.with_image(|image| {
            let partitions = image.topics().flat_map(|topic| {
                topic.partitions().map(|(id, partition)| (topic.id, id, partition.replicas.clone()))
            });
            partitions.collect::<Vec<_>>()
        });
        let mut changes = Vec::new();
        let mut controller_epoch = 0;
        for (id, partition, replicas) in partitions {
            let open = |broker: &BrokerId| {
                let replica = self.network.replica(*broker, id, partition);
                replica.inspect_err(|error| log::warn!("{error}")).ok()?
            };
            for replica in replicas.iter().filter_map(open) {
                let log = replica.log();
                let written = log.written_epoch();
                changes.extend(written.map(|epoch| Change::Outlive(id, partition, epoch)));
                let of_producers = log.producer_ids().into_iter();
                let of_producers = of_producers.filter_map(ProducerIds::controller_epoch).max();
                controller_epoch = controller_epoch.max(of_producers.unwrap_or(0));
            }
        }
        self.make([Change::OutliveController(controller_epoch)])?;
        self.make(changes)
    }

    /// Partitions with several replicas, of which one was not closed, get the leader that knows most. Those whose leader
    /// does not run get another.
    fn elect_at_open(&self, stores: &[Arc<Store>]) -> Result<(), ClusterError> {
        let present = |id: BrokerId| stores.iter().any(|store| store.broker() == id);
        let absent = self.controller.with_image(|image| {
            let known = image.brokers().keys().copied();
            known.filter(|id| !present(*id)).collect::<Vec<_>>()
        });
        self.make(absent.into_iter().map(Change::BrokerLost))?;
        self.make(self.longest_elected(stores, stores).into_iter().chain(self.unopened(stores)))
    }

    /// Makes all of these changes, and tells what came of them first that is an error.
    pub(super) fn make(
        &self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<(), ClusterError> {
        self.controller.submit_all(changes).into_iter().try_for_each(|result| result.map(drop))
    }

    /// Has the replica that knows most lead each partition of which `opened`, not closed before, have one, as far as the
    /// brokers of `stores` have the others.
    pub(super) fn longest_elected(
        &self,
        opened: &[Arc<Store>],
        stores: &[Arc<Store>],
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for ((id, partition), replicas) in self.replicated(opened, stores) {
            let known = self.controller.with_image(|image| {
                image.by_id(id).and_then(|topic| topic.partition(partition).cloned())
            });
            let Some(known) = known else { continue };
            let is_opened = |id| opened.iter().any(|store| store.broker() == id);
            if known.leader.is_some_and(|id| self.brokers.is_alive(id) && !is_opened(id)) {
                // It goes on meanwhile.
                continue;
            }
            let may_have_lost =
                |id| opened.iter().any(|store| store.broker() == id && !store.was_clean());
            if let Some(longest) = longest(&known, &replicas, may_have_lost)
                && replicas.len() > 1
                && known.leader != Some(longest.broker())
            {
                let (broker, epoch) = (longest.broker(), known.partition_epoch);
                changes.push(Change::ElectLongest(id, partition, broker, epoch));
            }
            let failed = replicas.iter().filter(|replica| replica.log().is_offline());
            for replica in failed.filter(|replica| known.isr.contains(&replica.broker())) {
                log::warn!(
                    "{} on broker {} is not in sync: {}",
                    replica.partition(),
                    replica.broker(),
                    replica.log().offline_error()
                );
                changes.push(Change::ReplicaUnfit(id, partition, replica.broker()));
            }
        }
        changes
    }

    /// All replicas of the partitions of which one is in a store that was opened and had not been closed.
    fn replicated(
        &self,
        opened: &[Arc<Store>],
        stores: &[Arc<Store>],
    ) -> BTreeMap<(TopicId, PartitionId), Vec<Arc<Replica>>> {
        let unclean = opened.iter().filter(|store| !store.was_clean());
        let unclean = unclean.map(|store| store.broker()).collect::<Vec<_>>();
        // Of some there may be no files: none of it was synced.
        let left = self.controller.with_image(|image| {
            let is_left = |known: &PartitionImage| {
                known.replicas.len() > 1 && known.replicas.iter().any(|id| unclean.contains(id))
            };
            let partitions = image.topics().flat_map(|topic| {
                topic.partitions().map(|(id, partition)| ((topic.id, id), partition))
            });
            let left = partitions.filter(|(_, known)| is_left(known)).map(|(place, _)| place);
            left.collect::<Vec<_>>()
        });
        let replicas = |(id, partition): (TopicId, PartitionId)| {
            let topic = self.controller.with_image(|image| image.by_id(id).cloned());
            let open = |store: &Arc<Store>| {
                let replica = self.replica_in(store, topic.as_deref()?, partition);
                // It is told by the report of the open, or has no replica.
                replica.inspect_err(|error| log::info!("{error}")).ok()
            };
            ((id, partition), stores.iter().filter_map(open).collect())
        };
        left.into_iter().map(replicas).collect()
    }

    /// Replicas whose files could not be opened, or are damaged, are not in sync if others are.
    fn unopened(&self, stores: &[Arc<Store>]) -> Vec<Change> {
        let mut unfit = Vec::new();
        for found in stores.iter().flat_map(|store| store.open_report().partitions) {
            let TopicPartition { topic, partition } = &found.partition;
            let topic = self.controller.with_image(|image| image.topic(topic.as_str()).cloned());
            if let (Some(topic), Some(_)) = (topic, found.failure) {
                unfit.push(Change::ReplicaUnfit(topic.id, *partition, found.broker));
            }
        }
        unfit
    }

    /// Opens the leaders of partitions of which not all replicas are in sync, so that those can catch up.
    pub(super) fn see_to_followers(&self) {
        let lagging = self.controller.with_image(|image| {
            let mut lagging = Vec::new();
            for topic in image.topics() {
                for (id, partition) in topic.partitions() {
                    if partition.isr.len() < partition.replicas.len() {
                        lagging.push((Arc::clone(topic), id));
                    }
                }
            }
            lagging
        });
        for (topic, partition) in lagging {
            if let Err(error) = self.leader(&topic, partition) {
                log::info!("{}-{partition} is not replicated yet: {error}", topic.name);
            }
        }
        self.network.wake_all();
    }
}

/// The replica in sync with the longest log; or another one, if that has all of this and more: what the one in sync has not
/// synced may be there (KIP-966).
fn longest<'a>(
    known: &PartitionImage,
    replicas: &'a [Arc<Replica>],
    may_have_lost: impl Fn(BrokerId) -> bool,
) -> Option<&'a Arc<Replica>> {
    let is_in_sync = |replica: &&Arc<Replica>| known.isr.contains(&replica.broker());
    let well = || replicas.iter().filter(|replica| !replica.log().is_offline());
    let length = |replica: &&Arc<Replica>| (replica.log().written_epoch(), replica.log().end());
    let in_sync = well().filter(is_in_sync).max_by_key(|replica| {
        // Of those that are equal the leader, else the first.
        let is_leader = known.leader == Some(replica.broker());
        let place = known.replicas.iter().position(|id| *id == replica.broker());
        (length(replica), is_leader, Reverse(place))
    })?;
    let (epoch, end) = length(&in_sync);
    if in_sync.policy() == FlushPolicy::OnAck || !may_have_lost(in_sync.broker()) {
        // Of what others have more nothing was acknowledged.
        return Some(in_sync);
    }
    // Of one leader's epoch both have the beginning.
    let has_all_and_more = |replica: &&Arc<Replica>| {
        let (other, others_end) = length(replica);
        (other == epoch || end == Offset::ZERO) && others_end > end
    };
    let others = well().filter(|replica| !is_in_sync(replica)).filter(has_all_and_more);
    others.max_by_key(length).or(Some(in_sync))
}

/// What stores are opened with.
pub(super) struct Opening<'a> {
    pub(super) config: &'a Arc<BrokerConfig>,
    pub(super) runtime: &'a Arc<dyn Runtime>,
    pub(super) pool: &'a Arc<BufferPool>,
    pub(super) network: &'a Arc<Network>,
}

impl Opening<'_> {
    /// Those that exist first: new ones become part of their cluster.
    fn stores(
        &self,
        brokers: Vec<OpenBroker>,
        create_if_missing: bool,
    ) -> Result<Vec<(BrokerPlace, Arc<Store>)>, ClusterError> {
        let mut existing = Vec::new();
        let mut new = Vec::new();
        for broker in brokers {
            let OpenBroker { place, .. } = &broker;
            let root = resolve(&*place.fs, place.root.clone())?;
            match is_store(&*place.fs, &root)? {
                true => existing.push(broker),
                false => new.push(broker),
            }
        }
        let mut opened = Vec::<(BrokerPlace, Arc<Store>)>::new();
        for broker in existing.into_iter().chain(new) {
            let cluster = opened.first().map(|(_, store)| store.cluster());
            let store = self.store(&broker, cluster, create_if_missing)?;
            if opened.iter().any(|(_, other)| other.broker() == store.broker()) {
                return Err(ClusterError::DuplicateBroker(store.broker()));
            }
            opened.push((broker.place, store));
        }
        Ok(opened)
    }

    pub(super) fn store(
        &self,
        broker: &OpenBroker,
        cluster: Option<TopicId>,
        create_if_missing: bool,
    ) -> Result<Arc<Store>, ClusterError> {
        let OpenBroker { id, place } = broker;
        let store = Store::open(OpenStore {
            fs: Arc::clone(&place.fs),
            root: place.root.clone(),
            create_if_missing,
            broker: id.or(self.config.id),
            cluster,
            config: Arc::clone(self.config),
            runtime: Arc::clone(self.runtime),
            pool: Arc::clone(self.pool),
            peers: Arc::clone(self.network) as _,
        });
        Ok(Arc::new(store?))
    }
}

/// As [`members`], when copies that are damaged were repaired from others: no loss is accepted that need not be.
fn known_members(
    stores: &[Arc<Store>],
    config: &Arc<BrokerConfig>,
    accept_loss: bool,
) -> Result<Vec<BrokerId>, ClusterError> {
    let known = members(stores, config, accept_loss);
    let is_damaged = |store: &Arc<Store>| store.metadata().is_some_and(|log| log.is_damaged());
    let is_suspect = known.is_err() || stores.iter().any(is_damaged);
    match is_suspect && repair_metadata(stores, config)? {
        true => members(stores, config, accept_loss),
        false => known,
    }
}

/// The members of the metadata log that are there, if they are all.
fn members(
    stores: &[Arc<Store>],
    config: &Arc<BrokerConfig>,
    accept_loss: bool,
) -> Result<Vec<BrokerId>, ClusterError> {
    let logs = stores.iter().filter_map(|store| Some((store, store.metadata()?)));
    let logs = logs.collect::<Vec<_>>();
    let length =
        |(_, log): &&(&Arc<Store>, Arc<Replica>)| (log.log().latest_epoch(), log.log().end());
    let newest = logs.iter().rev().max_by_key(length);
    let Some((_, newest)) = newest.filter(|(_, log)| log.log().end() > log.log().start()) else {
        return Ok(stores.iter().map(|store| store.broker()).collect());
    };
    let image = MetadataLog::replay(newest, config).map_err(|e| not_repaired(newest, &e))?;
    let (mut present, mut damaged) = (Vec::new(), Vec::new());
    for (store, log) in &logs {
        let id = store.broker();
        let known = image.brokers().get(&id).map(|known| known.directory);
        let is_it = known.is_none_or(|known| known == store.directory());
        if log.log().end() == log.log().start() {
            // The power was cut before the first record was on all: then nobody has registered, and nothing is missing.
            if image.brokers().is_empty() && image.members().contains(&id) {
                present.push(id);
            }
            continue;
        }
        if log.log().is_offline() && log.broker() != newest.broker() {
            log::warn!("the metadata log of broker {id}: {}", log.log().offline_error());
            damaged.push(log);
            continue;
        }
        let own = MetadataLog::replay(log, config).map_err(|e| not_repaired(log, &e))?;
        let is_other = |(epoch, id): (&i32, &[u8; 16])| {
            image.terms().get(epoch).is_some_and(|known| known != id)
        };
        if own.terms().iter().any(is_other) {
            return Err(ClusterError::MetadataDiverged { one: newest.broker(), other: id });
        }
        if !image.members().contains(&id) || !is_it {
            continue;
        }
        present.push(id);
    }
    if newest.log().is_offline() {
        return Err(not_repaired(newest, &newest.log().offline_error().into()));
    }
    let missing = without(image.members(), &present);
    if missing.is_empty() || accept_loss {
        if !missing.is_empty() {
            log::warn!("opened without the metadata of brokers {missing:?}, as was asked for");
        }
        if present.is_empty() {
            present.push(newest.broker());
        }
        return Ok(present);
    }
    match damaged.iter().find(|log| missing.contains(&log.broker())) {
        Some(log) => Err(not_repaired(log, &log.log().offline_error().into())),
        None => Err(ClusterError::MetadataIncomplete { missing }),
    }
}

/// A copy of the metadata log is needed, and no other has what it lacks.
fn not_repaired(log: &Replica, error: &ClusterError) -> ClusterError {
    let reason = match error {
        ClusterError::Storage(StorageError::Damaged { reason, .. }) => reason.clone(),
        ClusterError::Storage(StorageError::DamagedLog(damage)) => damage.to_string(),
        other => other.to_string(),
    };
    let reason = format!(
        "{reason}. No other store that was opened has what broker {} lacks: put back a copy of its directory, or leave its \
         store out and accept the loss of metadata",
        log.broker()
    );
    damaged(log, &reason).into()
}
