//! A partition's replicas, leader and epochs, as the metadata has them.
//!
//! # On disk
//! Part of a metadata record, big-endian. A list is its count `i32`, then broker ids `i32`.
//!
//! | field | type |
//! |---|---|
//! | replicas, in-sync replicas | two lists |
//! | leader | `i32`, -1 for none |
//! | leader epoch, partition epoch | two `i32` |
//! | adding, removing | two lists |
//! | recovering | `u8`, 0 or 1 |
//!
//! # Invariants
//! - There are replicas, each once.
//! - Some of them are in sync, in the order of the replicas. The last one stays in this list when its broker fails: it
//!   has all that was acknowledged, so that only it may lead later.
//! - The leader is in sync. Whoever takes a leader from the list takes its leadership too.
//! - `adding` and `removing` are replicas, each once, and neither is all of them: there is something to go back to, and
//!   something to arrive at.
//! - After every epoch there is room for another: none is ever used twice.
//! - While `recovering`, one replica is in sync: that which was elected without being so.

use bytes::{Buf, BufMut, BytesMut};

use crate::base::{BrokerId, LeaderEpoch};

/// A partition as the metadata describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PartitionImage {
    /// Brokers with a replica, the preferred leader first.
    pub(crate) replicas: Vec<BrokerId>,
    /// Those that are in sync, in the order of `replicas`.
    pub(crate) isr: Vec<BrokerId>,
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Counts the changes of this record.
    pub(crate) partition_epoch: i32,
    /// Of a reassignment under way: replicas that were none before it.
    pub(crate) adding: Vec<BrokerId>,
    /// Of a reassignment under way: replicas that will be none after it. One that an earlier reassignment added, and this
    /// one does not want, is in both lists.
    pub(crate) removing: Vec<BrokerId>,
    /// An unclean election: the leader may lack records that were acknowledged (Kafka's RECOVERING).
    pub(crate) recovering: bool,
}

impl PartitionImage {
    /// A new partition: those of its replicas that are alive are in sync, and the first of them leads. `None` if none
    /// is alive, or a broker is named twice.
    pub(crate) fn new(replicas: Vec<BrokerId>, live: &[BrokerId]) -> Option<Self> {
        let isr = common(&replicas, live);
        let partition = Self {
            leader: isr.first().copied(),
            replicas,
            isr,
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: 0,
            adding: Vec::new(),
            removing: Vec::new(),
            recovering: false,
        };
        partition.is_valid().then_some(partition)
    }

    /// What `change` makes of the partition, with the epochs that go with it; `None` if it changes nothing.
    ///
    /// The leader's epoch rises with a new leader or none, and when a replica goes: its fetches are fenced by that.
    ///
    /// # Panics
    /// If `change` breaks an invariant.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Self)) -> Option<Self> {
        let mut next = self.clone();
        change(&mut next);
        next.isr = common(&next.replicas, &next.isr);
        if next == *self {
            return None;
        }
        if next.leader != self.leader || !without(&self.replicas, &next.replicas).is_empty() {
            let epoch = self.leader_epoch.value().saturating_add(1);
            next.leader_epoch = LeaderEpoch::new(epoch).unwrap_or(self.leader_epoch);
        }
        next.partition_epoch = self.partition_epoch.saturating_add(1);
        // What is recorded against the invariants could not be read again.
        assert!(next.is_valid(), "{self:?} became {next:?}");
        Some(next)
    }

    /// The same in a term after `epoch`, if that has not come yet.
    pub(crate) fn outlive(&self, epoch: LeaderEpoch) -> Option<Self> {
        let later = epoch.value().checked_add(1).and_then(LeaderEpoch::new)?;
        let partition_epoch = self.partition_epoch.saturating_add(1);
        let next = Self { leader_epoch: later, partition_epoch, ..self.clone() };
        (epoch >= self.leader_epoch).then_some(next)
    }

    /// Whether replicas come or go.
    pub(crate) fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas before the reassignment under way.
    pub(crate) fn original(&self) -> Vec<BrokerId> {
        without(&self.replicas, &self.adding)
    }

    /// The replicas after the reassignment under way.
    pub(crate) fn target(&self) -> Vec<BrokerId> {
        without(&self.replicas, &self.removing)
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_brokers(out, &self.replicas);
        put_brokers(out, &self.isr);
        out.put_i32(self.leader.map_or(-1, BrokerId::value));
        out.put_i32(self.leader_epoch.value());
        out.put_i32(self.partition_epoch);
        put_brokers(out, &self.adding);
        put_brokers(out, &self.removing);
        out.put_u8(u8::from(self.recovering));
    }

    /// Takes a partition off the front of `from`. `None` if there is none, or one that breaks the invariants.
    pub(crate) fn decode(from: &mut &[u8]) -> Option<Self> {
        let partition = Self {
            replicas: get_brokers(from)?,
            isr: get_brokers(from)?,
            leader: match from.try_get_i32().ok()? {
                -1 => None,
                id => Some(BrokerId::new(id)?),
            },
            leader_epoch: LeaderEpoch::new(from.try_get_i32().ok()?)?,
            partition_epoch: from.try_get_i32().ok()?,
            adding: get_brokers(from)?,
            removing: get_brokers(from)?,
            recovering: match from.try_get_u8().ok()? {
                0 => false,
                1 => true,
                _ => return None,
            },
        };
        partition.is_valid().then_some(partition)
    }

    /// Whether the invariants hold.
    pub(crate) fn is_valid(&self) -> bool {
        let part = |of: &[BrokerId]| is_distinct(of) && without(of, &self.replicas).is_empty();
        is_distinct(&self.replicas)
            && !self.isr.is_empty()
            && self.isr == common(&self.replicas, &self.isr)
            && self.leader.is_none_or(|leader| self.isr.contains(&leader))
            && self.leader_epoch.value() < i32::MAX
            && (0..i32::MAX).contains(&self.partition_epoch)
            && part(&self.adding)
            && part(&self.removing)
            && !self.original().is_empty()
            && !self.target().is_empty()
            && (!self.recovering || self.isr.len() == 1)
    }
}

/// Those of `list` that are in `other` too, in the order of `list`.
pub(crate) fn common(list: &[BrokerId], other: &[BrokerId]) -> Vec<BrokerId> {
    list.iter().copied().filter(|id| other.contains(id)).collect()
}

/// Those of `list` that are not in `other`.
pub(crate) fn without(list: &[BrokerId], other: &[BrokerId]) -> Vec<BrokerId> {
    list.iter().copied().filter(|id| !other.contains(id)).collect()
}

/// Whether no broker is listed twice.
pub(crate) fn is_distinct(list: &[BrokerId]) -> bool {
    let mut rest = list;
    while let Some((first, others)) = rest.split_first() {
        if others.contains(first) {
            return false;
        }
        rest = others;
    }
    true
}

pub(super) fn put_brokers(out: &mut BytesMut, brokers: &[BrokerId]) {
    out.put_i32(i32::try_from(brokers.len()).unwrap_or(i32::MAX));
    for broker in brokers {
        out.put_i32(broker.value());
    }
}

pub(super) fn get_brokers(from: &mut &[u8]) -> Option<Vec<BrokerId>> {
    let count = usize::try_from(from.try_get_i32().ok()?).ok()?;
    // Before anything is allocated for them.
    let (ids, rest) = from.split_at_checked(count.checked_mul(size_of::<i32>())?)?;
    *from = rest;
    let (ids, _) = ids.as_chunks();
    ids.iter().map(|id| BrokerId::new(i32::from_be_bytes(*id))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers<const N: usize>(ids: [i32; N]) -> Vec<BrokerId> {
        ids.map(|id| BrokerId::new(id).unwrap()).to_vec()
    }

    fn partition() -> PartitionImage {
        PartitionImage::new(brokers([2, 3, 1]), &brokers([1, 2, 3])).unwrap()
    }

    fn reassigning() -> PartitionImage {
        PartitionImage {
            replicas: brokers([4, 2, 5, 1]),
            isr: brokers([2, 1]),
            leader: Some(brokers([1])[0]),
            leader_epoch: LeaderEpoch::new(7).unwrap(),
            partition_epoch: 12,
            adding: brokers([4, 5]),
            removing: brokers([5, 1]),
            recovering: false,
        }
    }

    fn encoded(partition: &PartitionImage) -> Vec<u8> {
        let mut out = BytesMut::new();
        partition.encode(&mut out);
        out.to_vec()
    }

    fn decoded(partition: &PartitionImage) -> Option<PartitionImage> {
        PartitionImage::decode(&mut &encoded(partition)[..])
    }

    #[test]
    fn a_new_partition_is_led_by_its_first_replica_that_is_alive() {
        assert_eq!(partition().leader, Some(brokers([2])[0]));
        assert_eq!(partition().isr, brokers([2, 3, 1]));
        let degraded = PartitionImage::new(brokers([2, 3, 1]), &brokers([1, 3, 9])).unwrap();
        assert_eq!((degraded.leader, &degraded.isr), (Some(brokers([3])[0]), &brokers([3, 1])));
        assert_eq!((degraded.leader_epoch, degraded.partition_epoch), (LeaderEpoch::ZERO, 0));
    }

    #[test]
    fn a_partition_needs_a_live_replica_and_distinct_ones() {
        assert_eq!(PartitionImage::new(brokers([2, 3]), &brokers([1])), None);
        assert_eq!(PartitionImage::new(Vec::new(), &brokers([1])), None);
        assert_eq!(PartitionImage::new(brokers([1, 2, 1]), &brokers([1, 2])), None);
    }

    #[test]
    fn what_is_original_and_what_is_target_follows_from_the_lists() {
        assert_eq!(reassigning().original(), brokers([2, 1]));
        assert_eq!(reassigning().target(), brokers([4, 2]));
        assert!(reassigning().is_reassigning() && !partition().is_reassigning());
    }

    #[test]
    fn partitions_round_trip_and_leave_what_follows() {
        let offline = PartitionImage { leader: None, ..partition() };
        let isr = brokers([3]);
        let recovering =
            PartitionImage { leader: Some(isr[0]), isr, recovering: true, ..partition() };
        for partition in [partition(), reassigning(), offline, recovering] {
            let bytes = [&encoded(&partition)[..], b"next"].concat();
            let mut from = &bytes[..];
            assert_eq!(PartitionImage::decode(&mut from), Some(partition));
            assert_eq!(from, b"next");
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let offline = PartitionImage { leader: None, ..partition() };
        let words = [3, 2, 3, 1, 3, 2, 3, 1, -1, 0, 0, 0, 0].map(i32::to_be_bytes).concat();
        assert_eq!(encoded(&offline), [words, vec![0]].concat());
    }

    /// H1, H2: nothing that is read from a damaged file panics or makes a large allocation.
    #[test]
    fn truncated_bytes_and_impossible_counts_are_refused() {
        let bytes = encoded(&reassigning());
        for length in 0..bytes.len() {
            assert_eq!(PartitionImage::decode(&mut &bytes[..length]), None);
        }
        for count in [i32::MIN, -1, 16, i32::MAX] {
            let mut bytes = bytes.clone();
            bytes[..4].copy_from_slice(&count.to_be_bytes());
            assert_eq!(PartitionImage::decode(&mut &bytes[..]), None, "{count} replicas");
        }
        let mut flag = bytes;
        *flag.last_mut().unwrap() = 2;
        assert_eq!(PartitionImage::decode(&mut &flag[..]), None);
    }

    #[test]
    fn what_breaks_an_invariant_is_refused() {
        let good = partition();
        let some = |id: i32| BrokerId::new(id);
        let bad = [
            PartitionImage { replicas: brokers([2, 3, 1, 2]), ..good.clone() },
            PartitionImage { isr: brokers([2, 3, 4]), ..good.clone() },
            PartitionImage { isr: brokers([2, 3, 3]), ..good.clone() },
            PartitionImage { isr: brokers([3, 2]), ..good.clone() },
            PartitionImage { isr: Vec::new(), leader: None, ..good.clone() },
            PartitionImage { leader: some(4), ..good.clone() },
            PartitionImage { isr: brokers([2, 3]), leader: some(1), ..good.clone() },
            PartitionImage { partition_epoch: -1, ..good.clone() },
            PartitionImage { partition_epoch: i32::MAX, ..good.clone() },
            PartitionImage { leader_epoch: LeaderEpoch::new(i32::MAX).unwrap(), ..good.clone() },
            PartitionImage { adding: brokers([4]), ..good.clone() },
            PartitionImage { adding: brokers([1, 1]), ..good.clone() },
            PartitionImage { adding: brokers([1, 2, 3]), ..good.clone() },
            PartitionImage { removing: brokers([4]), ..good.clone() },
            PartitionImage { removing: brokers([1, 2, 3]), ..good.clone() },
            PartitionImage { recovering: true, ..good.clone() },
        ];
        for bad in bad {
            assert_eq!(decoded(&bad), None, "{bad:?}");
        }
        assert_eq!(decoded(&good), Some(good));
    }

    #[test]
    fn negative_ids_and_epochs_are_refused() {
        let bytes = encoded(&partition());
        // A replica, one in sync, the leader (-1 is none, and fine), both epochs.
        for word in [1, 5, 8, 9, 10] {
            let mut bytes = bytes.clone();
            bytes[word * 4..][..4].copy_from_slice(&(-2i32).to_be_bytes());
            assert_eq!(PartitionImage::decode(&mut &bytes[..]), None, "word {word}");
        }
    }

    #[test]
    fn epochs_rise_with_what_they_count() {
        let before = partition();
        assert_eq!(before.changed(|_| ()), None);
        let shrunk = before.changed(|p| p.isr = brokers([2])).unwrap();
        assert_eq!((shrunk.leader_epoch, shrunk.partition_epoch), (before.leader_epoch, 1));
        let moved = shrunk.changed(|p| p.leader = None).unwrap();
        assert_eq!((moved.leader_epoch.value(), moved.partition_epoch), (1, 2));
        let fewer = shrunk.changed(|p| p.replicas = brokers([2, 3])).unwrap();
        assert_eq!((fewer.leader_epoch.value(), fewer.partition_epoch), (1, 2));
        let more = shrunk.changed(|p| p.replicas = brokers([4, 2, 3, 1])).unwrap();
        assert_eq!((more.leader_epoch.value(), more.partition_epoch), (0, 2));
    }

    #[test]
    #[should_panic(expected = "became")]
    fn a_change_that_breaks_an_invariant_is_no_change() {
        partition().changed(|p| p.leader = BrokerId::new(4));
    }

    #[test]
    #[should_panic(expected = "became")]
    fn no_epoch_is_used_twice() {
        let last = PartitionImage { partition_epoch: i32::MAX - 1, ..partition() };
        last.changed(|p| p.leader = None);
    }

    #[test]
    fn those_in_sync_keep_the_order_of_the_replicas() {
        let changed = partition().changed(|p| p.replicas = brokers([1, 2, 3])).unwrap();
        assert_eq!(changed.isr, brokers([1, 2, 3]));
        assert_eq!(partition().changed(|p| p.isr.reverse()), None);
    }
}
