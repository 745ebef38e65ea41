//! Brokers come and go while the cluster runs.

use std::sync::Arc;

use crate::base::BrokerId;
use crate::cluster::brokers::Broker;
use crate::cluster::change::Change;
use crate::cluster::core::{CLOSE_TIMEOUT, Core, metadata_topic};
use crate::cluster::events::ClusterEvent;
use crate::cluster::open::{OpenBroker, Opening};
use crate::cluster::{BrokerPlace, ClusterError};

/// Somebody is about to start or stop the broker.
struct Changing<'a>(&'a Broker);

impl<'a> Changing<'a> {
    fn begin(broker: &'a Broker) -> Result<Self, ClusterError> {
        let is_free = broker.changing.take();
        is_free.then_some(Self(broker)).ok_or(ClusterError::BrokerIsChanging(broker.id))
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.changing.leave();
    }
}

impl Core {
    pub(crate) fn broker(&self, id: BrokerId) -> Result<Arc<Broker>, ClusterError> {
        self.check_open()?;
        self.brokers.get(id).ok_or(ClusterError::UnknownBroker(id))
    }

    /// Adds a broker, with its store, or one that is made for it.
    pub(crate) fn add_broker(
        self: &Arc<Self>,
        id: Option<BrokerId>,
        place: BrokerPlace,
    ) -> Result<Arc<Broker>, ClusterError> {
        self.check_open()?;
        if let Some(id) = id.filter(|id| self.brokers.get(*id).is_some()) {
            return Err(ClusterError::DuplicateBroker(id));
        }
        let store =
            self.opening().store(&OpenBroker { id, place: place.clone() }, Some(self.id), true)?;
        let id = store.broker();
        if self.brokers.get(id).is_some() {
            return Err(ClusterError::DuplicateBroker(id));
        }
        let broker = Broker::new(id, place, &self.runtime);
        let _changing = Changing::begin(&broker)?;
        self.brokers.add(&broker);
        let begun = self.run_broker(&broker, store);
        begun.inspect_err(|_| {
            broker.end();
            self.brokers.remove(id);
        })?;
        Ok(Arc::clone(&broker))
    }

    /// Stops a broker, and forgets it. Its directory stays as it is.
    pub(crate) fn remove_broker(&self, id: BrokerId) -> Result<(), ClusterError> {
        self.broker(id)?;
        self.controller.with_image(|image| {
            let has_replica = image.topics().find(|topic| {
                topic.partitions().any(|(_, partition)| partition.replicas.contains(&id))
            });
            match has_replica {
                Some(topic) => {
                    Err(ClusterError::HasReplicas { broker: id, topic: topic.name.clone() })
                }
                None => Ok(()),
            }
        })?;
        self.stop_broker(id)?;
        self.controller.submit(Change::RemoveBroker(id))?;
        self.brokers.remove(id);
        self.controller.log().tell_replicas();
        Ok(())
    }

    /// Has others lead what the broker leads, then writes and syncs everything, and releases its directory.
    pub(crate) fn stop_broker(&self, id: BrokerId) -> Result<(), ClusterError> {
        let broker = self.broker(id)?;
        let _changing = Changing::begin(&broker)?;
        if broker.store().is_some() {
            self.controller.await_successor(id, self.runtime.now().after(CLOSE_TIMEOUT));
        }
        self.lose(&broker);
        match broker.end() {
            Some(store) => {
                let closed = store.close();
                self.controller.events().tell([ClusterEvent::BrokerStopped(id)]);
                Ok(closed?)
            }
            None => Ok(()),
        }
    }

    /// Ends a broker as a crash of its machine would: nothing more of its topics is written, and nobody hears of them.
    /// Then others lead, and are given what it has not answered. Until that is recorded its copy of the metadata counts:
    /// a change that is under way is made, or not, before there is another controller.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn crash_broker(&self, id: BrokerId) -> Result<(), ClusterError> {
        let broker = self.broker(id)?;
        let _changing = Changing::begin(&broker)?;
        let Some(store) = broker.store() else { return Ok(()) };
        broker.set_unsettled(true);
        let halted = store.halt();
        self.lose(&broker);
        broker.end();
        halted.into_iter().for_each(|halted| store.release(halted));
        self.controller.events().tell([ClusterEvent::BrokerStopped(id)]);
        Ok(())
    }

    /// What the broker leads is led by others from now on.
    fn lose(&self, broker: &Broker) {
        if broker.store().is_none() {
            return;
        }
        broker.leave();
        // Others that are about to stop wait for this one no longer.
        self.controller.look_again();
        if let Err(error) = self.controller.submit(Change::BrokerLost(broker.id)) {
            // Nobody else knows all of the metadata: what it leads is led by nobody until it is back.
            log::warn!("broker {} ends, and {error}", broker.id);
        }
        let next_incarnation = broker.incarnation().saturating_add(1);
        for store in self.brokers.stores() {
            for replica in store.replicas().into_iter().chain(store.metadata()) {
                replica.forget_follower(broker.id, next_incarnation);
            }
        }
    }

    /// Starts a broker that was stopped, or has crashed.
    pub(crate) fn start_broker(self: &Arc<Self>, id: BrokerId) -> Result<(), ClusterError> {
        let broker = self.broker(id)?;
        let _changing = Changing::begin(&broker)?;
        if broker.store().is_some() {
            return Ok(());
        }
        let mut place = broker.place.clone();
        place.fs = place.fs.again().unwrap_or(place.fs);
        let how = OpenBroker { id: Some(id), place };
        let store = self.opening().store(&how, Some(self.id), true)?;
        self.run_broker(&broker, store)
    }

    fn run_broker(
        self: &Arc<Self>,
        broker: &Broker,
        store: Arc<crate::cluster::store::Store>,
    ) -> Result<(), ClusterError> {
        store.open_metadata(&metadata_topic(broker.id)?)?;
        // If nobody could record that it had ended, it is still the leader that it was. It may have lost what it had not
        // synced: it is to lead in another term, and to serve nobody before.
        broker.set_unsettled(true);
        broker.begin(Arc::clone(&store));
        self.controller.log().tell_replicas();
        let begun = self.register(&store).and_then(|()| self.load(&store)).and_then(|()| {
            let longest = self.longest_elected(&[Arc::clone(&store)], &self.brokers.stores());
            self.make(longest.into_iter().chain([Change::BrokerBack(broker.id)]))
        });
        broker.set_unsettled(false);
        begun.inspect_err(|_| {
            if let Some(store) = broker.end() {
                store.abandon();
            }
        })?;
        self.see_to_followers();
        self.grow_internal_topics();
        self.controller.events().tell([ClusterEvent::BrokerStarted(broker.id)]);
        Ok(())
    }

    fn opening(&self) -> Opening<'_> {
        Opening {
            config: &self.config,
            runtime: &self.runtime,
            pool: &self.pool,
            network: &self.network,
        }
    }
}
