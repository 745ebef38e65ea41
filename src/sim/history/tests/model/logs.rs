//! What a partition holds, and how it loses it.

use super::*;

impl Model {
    pub(super) fn is_open(&self, record: &Stored) -> bool {
        record.transaction.is_some_and(|index| self.transactions[index] == State::Open)
    }

    /// Where a reader has to stop.
    pub(super) fn end_of(&self, log: usize, committed: bool) -> usize {
        let records = &self.logs[log].records;
        let open = records.iter().position(|record| self.is_open(record));
        open.filter(|_| committed).unwrap_or(records.len())
    }

    /// Reads from a position on: what there is, and the position behind it.
    pub(super) fn read(
        &self,
        log: usize,
        from: usize,
        most: usize,
        committed: bool,
    ) -> (usize, Vec<usize>) {
        let (mut next, mut read) = (from.max(self.logs[log].start), Vec::new());
        while next < self.end_of(log, committed) && read.len() < most {
            let record = &self.logs[log].records[next];
            let aborted =
                record.transaction.is_some_and(|index| self.transactions[index] == State::Aborted);
            if !(record.gone || aborted && committed) {
                read.push(next);
            }
            next += 1;
        }
        (next, read)
    }

    pub(super) fn delete_records(&mut self) {
        let log = self.random.usize(..2);
        let end = self.end_of(log, true);
        let log = &mut self.logs[log];
        let before = self.random.usize(log.start..=end.max(log.start));
        let call = self.recorder.client("admin").delete_records(&log.name, Self::at(before));
        if self.random.bool() {
            log.start = before;
            call.ok();
        } else {
            call.failed();
        }
    }

    /// Keeps the last record of each key, tombstones until nothing older is left.
    pub(super) fn compact(&mut self) {
        let end = self.end_of(2, true);
        let aborted = |record: &Stored| {
            record.transaction.is_some_and(|index| self.transactions[index] == State::Aborted)
        };
        let records = &self.logs[2].records[..end];
        let live =
            records.iter().enumerate().filter(|(_, record)| !record.gone && !aborted(record));
        let mut last = BTreeMap::new();
        let (mut gone, mut older) = (Vec::new(), BTreeSet::new());
        for (at, record) in live {
            if let Some(before) = last.insert(record.key, at) {
                gone.push(before);
                older.insert(record.key);
            }
        }
        let tombstones =
            last.iter().filter(|(key, at)| records[**at].tombstone && !older.contains(key));
        gone.extend(tombstones.map(|(_, at)| *at));
        for at in gone {
            self.logs[2].records[at].gone = true;
        }
    }

    /// A power cut: `metrics` ends early, and what was on its way has failed.
    pub(super) fn cut(&mut self) {
        for at in 0..self.consumers.len() {
            self.end_poll(at);
        }
        let log = &mut self.logs[3];
        let durable = log.durable.min(log.records.len());
        let end = self.random.usize(durable..=log.records.len());
        log.records.truncate(end);
        for producer in &mut self.producers {
            // Those that were written are lost, or not: their answers are.
            producer.pending.retain(|pending| pending.log != 3 || pending.offset.is_none());
        }
        self.recorder.lost_suffix(&self.logs[3].name, Self::at(end));
        for consumer in &mut self.consumers {
            if let Some(position) = consumer.positions.get_mut(&3).filter(|at| **at > end) {
                *position = 0;
            }
        }
    }

    pub(super) fn delete_topic(&mut self) {
        for at in 0..self.consumers.len() {
            self.end_poll(at);
            self.consumers[at].positions.remove(&4);
            let consumer = &self.consumers[at];
            if !consumer.member {
                let all = consumer.positions.keys().map(|log| (&self.logs[*log].name, None));
                self.recorder.client(&consumer.name).assign(all);
            }
        }
        for producer in &mut self.producers {
            producer.pending.retain(|pending| pending.log != 4);
        }
        let log = &mut self.logs[4];
        (log.start, log.records, log.durable) = (0, Vec::new(), 0);
        self.recorder.topic_deleted(&log.name.topic);
    }
}
