//! The brokers of a cluster: which there are, and which are running.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::base::BrokerId;
use crate::cluster::sender::Sender;
use crate::cluster::store::Store;
use crate::env::sync::Mutex;
use crate::env::{FileSystem, Role, Runtime};

/// A broker's place: what it is opened from, again after it has stopped.
#[derive(Clone, Debug)]
pub(crate) struct BrokerPlace {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) root: PathBuf,
    /// Where it stands (`broker.rack`).
    pub(crate) rack: Option<String>,
}

/// A broker, running or not.
pub(crate) struct Broker {
    pub(crate) id: BrokerId,
    pub(crate) place: BrokerPlace,
    /// While it runs.
    store: ArcSwapOption<Store>,
    /// Writes what nobody waits for. It outlives its broker's lives: what is left to it then goes to the next leader.
    sender: Arc<Sender>,
    /// Counts its lives: what is said in an earlier one is too late.
    incarnation: AtomicU64,
    /// It is on its way out: it is elected to nothing any more.
    leaving: AtomicBool,
    /// It has crashed, or runs again, and who leads what it led is not settled yet.
    unsettled: AtomicBool,
    /// Somebody is starting or stopping it.
    pub(super) changing: Role,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("id", &self.id)
            .field("running", &self.store.load().is_some())
            .field("incarnation", &self.incarnation())
            .finish_non_exhaustive()
    }
}

impl Broker {
    pub(super) fn new(id: BrokerId, place: BrokerPlace, runtime: &Arc<dyn Runtime>) -> Arc<Self> {
        Arc::new(Self {
            id,
            place,
            store: ArcSwapOption::empty(),
            sender: Arc::new(Sender::new("brooklet-sender", Arc::clone(runtime))),
            incarnation: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            unsettled: AtomicBool::new(false),
            changing: Role::new(),
        })
    }

    pub(crate) fn sender(&self) -> &Arc<Sender> {
        &self.sender
    }

    /// Its store, while it runs.
    pub(crate) fn store(&self) -> Option<Arc<Store>> {
        self.store.load_full()
    }

    /// Counts its lives, from 1.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Whether it can be elected.
    pub(super) fn is_alive(&self) -> bool {
        !self.leaving.load(Ordering::Acquire) && self.store.load().is_some()
    }

    /// Another life begins.
    pub(super) fn begin(&self, store: Arc<Store>) {
        self.incarnation.fetch_add(1, Ordering::AcqRel);
        self.leaving.store(false, Ordering::Release);
        self.store.store(Some(store));
    }

    /// Its store, once it may serve what it leads.
    pub(super) fn settled_store(&self) -> Option<Arc<Store>> {
        if self.unsettled.load(Ordering::Acquire) { None } else { self.store() }
    }

    /// From now on, or no longer, nobody is served by what it leads.
    pub(super) fn set_unsettled(&self, unsettled: bool) {
        self.unsettled.store(unsettled, Ordering::Release);
    }

    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Its life is over.
    pub(super) fn end(&self) -> Option<Arc<Store>> {
        self.store.swap(None)
    }
}

/// All brokers of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Brokers {
    all: ArcSwap<BTreeMap<BrokerId, Arc<Broker>>>,
    /// The senders of all that there ever were.
    senders: Mutex<Vec<Arc<Sender>>>,
}

impl Brokers {
    pub(super) fn add(&self, broker: &Arc<Broker>) {
        self.senders.lock().push(Arc::clone(&broker.sender));
        self.all.rcu(|brokers| {
            let mut brokers = BTreeMap::clone(brokers);
            brokers.insert(broker.id, Arc::clone(broker));
            brokers
        });
    }

    pub(super) fn senders(&self) -> Vec<Arc<Sender>> {
        self.senders.lock().clone()
    }

    pub(super) fn remove(&self, id: BrokerId) {
        self.all.rcu(|brokers| {
            let mut brokers = BTreeMap::clone(brokers);
            brokers.remove(&id);
            brokers
        });
    }

    pub(crate) fn get(&self, id: BrokerId) -> Option<Arc<Broker>> {
        self.all.load().get(&id).cloned()
    }

    /// In the order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Broker>> {
        self.all.load().values().cloned().collect()
    }

    /// The store of a broker that runs.
    pub(crate) fn store(&self, id: BrokerId) -> Option<Arc<Store>> {
        self.all.load().get(&id).and_then(|broker| broker.store())
    }

    /// The stores of all brokers that run, in the order of their ids.
    pub(crate) fn stores(&self) -> Vec<Arc<Store>> {
        self.all.load().values().filter_map(|broker| broker.store()).collect()
    }

    /// Whether a broker can be elected.
    pub(crate) fn is_alive(&self, id: BrokerId) -> bool {
        self.all.load().get(&id).is_some_and(|broker| broker.is_alive())
    }

    /// Those that can be elected, in the order of their ids.
    pub(crate) fn alive(&self) -> Vec<BrokerId> {
        let brokers = self.all.load();
        brokers.values().filter(|broker| broker.is_alive()).map(|broker| broker.id).collect()
    }
}
