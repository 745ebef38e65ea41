//! A controller's term: who begins it, and what it begins with.
//!
//! # Invariants
//! - A term begins with a record of it. All that is before that in the log was published, or is now: whoever goes on knows
//!   what was under way.
//! - Whoever begins one has all that was published. Every member has, as they are known in memory; when the cluster is
//!   opened only the newest log is sure to.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{BrokerId, Bug, LeaderEpoch, is_planted};
use crate::cluster::ClusterError;
use crate::cluster::controller::{Controller, Effects, Next};
use crate::cluster::events::{ClusterEvent, Events};
use crate::cluster::metadata::{Image, MetadataRecord};
use crate::cluster::metadata_log::MetadataLog;
use crate::cluster::store::random_id;
use crate::replica::{ProduceError, Replica};
use crate::storage::AppendError;

/// When a controller begins its term.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Occasion {
    /// The cluster is opened: all leader epochs rise (G9).
    Open,
    /// There is something to be recorded.
    Change,
}

impl Controller {
    /// Sees to it that the metadata log is led. Returns what was in it and not published before, if that was found out now.
    pub(super) fn see_to_office(
        &self,
        effects: &mut Effects,
    ) -> Result<Vec<MetadataRecord>, ClusterError> {
        match self.log.is_led() {
            true => Ok(Vec::new()),
            false => self.take_office(0, Occasion::Change, &self.log.members(), effects),
        }
    }

    /// Has the broker with the newest log among `members` lead it. What it has that was not published is published.
    pub(in crate::cluster) fn open(&self, members: &[BrokerId]) -> Result<(), ClusterError> {
        // Of a term that no member has recorded another broker may have: no other is to have its number.
        let logs = self.brokers.stores().into_iter().filter_map(|store| store.metadata());
        let latest = logs.filter_map(|log| log.log().latest_epoch()).max();
        let latest = latest.map_or(0, LeaderEpoch::value);
        self.take_office(latest, Occasion::Open, members, &mut Effects::default()).map(drop)
    }

    /// Begins a term after that of `epoch`, if this is none: there was one of which the metadata does not know.
    pub(super) fn outlive(&self, epoch: i32, effects: &mut Effects) -> Result<(), ClusterError> {
        if self.with_image(Image::controller_epoch) > epoch {
            return Ok(());
        }
        self.take_office(epoch, Occasion::Change, &self.log.members(), effects).map(drop)
    }

    /// Begins a term after that of `epoch`, and all that are known: on the broker with the newest log, or on the next, if
    /// that one cannot record it. Returns what was recorded and not published.
    fn take_office(
        &self,
        epoch: i32,
        occasion: Occasion,
        members: &[BrokerId],
        effects: &mut Effects,
    ) -> Result<Vec<MetadataRecord>, ClusterError> {
        let mut failure = self.nobody_to_lead();
        let candidates = self.candidates(occasion, members);
        for (at, log) in candidates.iter().enumerate() {
            // Whoever could not record it is waited for no longer.
            let rest = candidates.get(at..).unwrap_or_default();
            match self.begin_term(log, epoch, occasion, members, rest) {
                Ok(found) => {
                    effects.all = true;
                    return Ok(found);
                }
                Err(error) => {
                    log::warn!("broker {} cannot be the controller: {error}", log.broker());
                    failure = error;
                }
            }
        }
        self.log.restore_members(members);
        Err(failure)
    }

    /// The logs that have all that was published, the newest first.
    fn candidates(&self, occasion: Occasion, members: &[BrokerId]) -> Vec<Arc<Replica>> {
        let is_well = |log: &Arc<Replica>| {
            !log.log().is_offline()
                && log.ended().is_none()
                && self.brokers.is_alive(log.broker())
                && members.contains(&log.broker())
        };
        let logs = self.brokers.stores().into_iter().filter_map(|store| store.metadata());
        let logs = logs.filter(is_well).map(|log| {
            let length = (log.log().latest_epoch(), log.log().end());
            (Reverse(length), log)
        });
        let mut logs = logs.collect::<Vec<_>>();
        logs.sort_by_key(|(length, _)| *length);
        if occasion == Occasion::Open {
            // A member that the newest log names may have been left behind before what is at its end.
            let newest = logs.first().map(|(length, _)| *length);
            logs.retain(|(length, _)| Some(*length) == newest);
        }
        logs.into_iter().map(|(_, log)| log).collect()
    }

    /// Why there is no controller, if no broker can be one.
    fn nobody_to_lead(&self) -> ClusterError {
        match self.log.leader().filter(|log| self.brokers.is_alive(log.broker())) {
            Some(log) if log.log().is_offline() => {
                let reason = AppendError::NotWritten(log.log().offline_error());
                ClusterError::NotRecorded(ProduceError::Append(reason))
            }
            Some(_) => ClusterError::NoController,
            None => {
                self.log.depose();
                ClusterError::NoController
            }
        }
    }

    /// Has the broker of `newest` record that it is the controller, when those of `counted` have that, and publishes all that
    /// is in that log. Returns what it was.
    ///
    /// The record names all `members`, also those that are not counted on any more: that these are none is recorded behind
    /// it. If that does not come to be, they are there when the cluster is opened again.
    fn begin_term(
        &self,
        newest: &Arc<Replica>,
        epoch: i32,
        occasion: Occasion,
        members: &[BrokerId],
        counted: &[Arc<Replica>],
    ) -> Result<Vec<MetadataRecord>, ClusterError> {
        let broker = newest.broker();
        let (published, from) = (self.published.read().clone(), self.next.lock().applied);
        let mut image = published.clone();
        let mut applied = MetadataLog::replay_from(newest, from, &mut image, |_, _| {})?;
        let epoch = image.controller_epoch().max(self.log.epoch()).max(epoch).saturating_add(1);
        let reopened = i32::from(occasion == Occasion::Open && !is_planted(Bug::TermsStay));
        let incarnation = image.incarnation().saturating_add(reopened);
        let id = *random_id(&*self.runtime).as_bytes();
        let mut brokers = counted.iter().map(|log| log.broker()).collect::<Vec<_>>();
        brokers.sort_unstable();
        self.log.appoint(newest, epoch, brokers);
        // Those that failed before they were appointed tell nobody again.
        let failed = counted.iter().filter(|log| log.log().is_offline()).map(|log| log.broker());
        self.log.lose_members(&failed.collect::<Vec<_>>());
        let mut members = members.to_vec();
        members.sort_unstable();
        let record = MetadataRecord::Epoch { epoch, broker, id, incarnation, members };
        self.log.commit(&[record.encode()]).map_err(ClusterError::NotRecorded)?;
        if occasion == Occasion::Change {
            // A copy that was under way may have changed the log before the term began.
            (image, applied) = (published, from);
        }
        let (mut found, mut events) = (Vec::new(), Vec::new());
        let applied = MetadataLog::replay_from(newest, applied, &mut image, |before, record| {
            events.extend(Events::of(record, before));
            found.push(record.clone());
        })?;
        self.log.confirm();
        let members = self.log.members();
        if image.members() != members {
            log::info!("{members:?} have recorded that broker {broker} is the controller");
        }
        // What was recorded and not published may have been a deletion.
        let before = self.published.read().topics().cloned().collect::<Vec<_>>();
        for topic in before.iter().filter(|topic| image.by_id(topic.id).is_none()) {
            self.delete_topic(topic);
        }
        *self.next.lock() = Next { image: image.clone(), applied };
        let mut published = self.published.write();
        *published = image;
        self.version.fetch_add(1, Ordering::AcqRel);
        drop(published);
        self.look_again();
        events.push(ClusterEvent::ControllerChanged { broker, epoch });
        self.events.tell(events);
        Ok(found)
    }
}
