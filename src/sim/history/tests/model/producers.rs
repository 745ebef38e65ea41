//! What producers do, and what becomes of it.

use super::*;

impl Model {
    pub(super) fn is_transactional(&self, producer: usize) -> bool {
        self.producers[producer].name.starts_with('t')
    }

    pub(super) fn send(&mut self, at: usize) {
        let message = Message::new(self.values).key(self.random.u64(..5));
        self.values += 1;
        let log = self.random.usize(..self.logs.len());
        let message = match self.logs[log].name.topic.as_str() {
            "table" if self.random.u32(..4) == 0 => message.tombstone(),
            _ => message,
        };
        let producer = &mut self.producers[at];
        let (sending, transaction) = match &producer.transaction {
            Some((transaction, index, _)) => (transaction.send(message), Some(*index)),
            None if producer.name.starts_with('t') => return,
            None => (self.recorder.client(&producer.name).send(message), None),
        };
        producer.pending.push(Pending { sending, message, log, transaction, offset: None });
    }

    /// Moves one of a producer's sends on: into the log, or to its answer.
    pub(super) fn progress(&mut self, at: usize) {
        let producer = &mut self.producers[at];
        let unwritten = producer.pending.iter().position(|pending| pending.offset.is_none());
        if let Some(place) = unwritten.filter(|_| self.random.bool()) {
            let transactional = producer.transaction.is_some();
            match self.random.u32(..20) {
                0 if !transactional => producer.pending.remove(place).sending.failed(),
                // It never arrives, but nobody knows.
                1 if !transactional => producer.pending.remove(place).sending.unknown(),
                _ => self.write(at, place),
            }
        } else {
            let written = |pending: &Pending| pending.offset.is_some() && self.random.bool();
            let Some(place) = producer.pending.iter().position(written) else { return };
            let pending = producer.pending.remove(place);
            match self.random.u32(..10) {
                0 if pending.transaction.is_none() => pending.sending.unknown(),
                1 if pending.transaction.is_none() => pending.sending.ok_without_offset(),
                _ => self.acknowledge(pending),
            }
        }
    }

    pub(super) fn acknowledge(&self, pending: Pending) {
        let offset = pending.offset.unwrap();
        let log = &self.logs[pending.log];
        pending.sending.ok(&log.name, at(u32::try_from(offset).unwrap()));
    }

    pub(super) fn write(&mut self, at: usize, place: usize) {
        let name = self.producers[at].name.clone();
        let pending = &mut self.producers[at].pending[place];
        let log = &mut self.logs[pending.log];
        pending.offset = Some(log.records.len());
        let stored = Stored {
            value: pending.message.value,
            key: pending.message.key.unwrap(),
            tombstone: pending.message.tombstone,
            transaction: pending.transaction,
            gone: false,
        };
        match name.as_str() {
            "weak" if self.random.u32(..4) == 0 => {} // the leader fails, and nobody has it
            "plain" if self.random.u32(..4) == 0 => log.records.extend([stored.clone(), stored]),
            _ => log.records.push(stored),
        }
    }

    pub(super) fn begin_or_end(&mut self, at: usize) {
        if !self.is_transactional(at) {
            return;
        }
        let producer = &mut self.producers[at];
        let Some((transaction, index, offsets)) = producer.transaction.take() else {
            let transaction = self.recorder.client(&producer.name).begin();
            producer.transaction = Some((transaction, self.transactions.len(), BTreeMap::new()));
            self.transactions.push(State::Open);
            return;
        };
        if self.random.bool() && !self.committed.is_empty() && offsets.is_empty() {
            let offset = self.random.usize(..50);
            let call = transaction.commit_offsets(GROUP, [(&self.logs[0].name, Self::at(offset))]);
            call.ok();
            let offsets = BTreeMap::from([(0, offset)]);
            self.producers[at].transaction = Some((transaction, index, offsets));
            return;
        }
        // A commit waits for its sends; an abort as well, here.
        while let Some(place) =
            self.producers[at].pending.iter().position(|pending| pending.offset.is_none())
        {
            self.write(at, place);
        }
        for pending in std::mem::take(&mut self.producers[at].pending) {
            self.acknowledge(pending);
        }
        match self.random.u32(..4) {
            0 => {
                let call = transaction.abort();
                self.end(index, State::Aborted);
                call.ok();
            }
            1 => {
                let call = transaction.commit();
                if self.random.bool() {
                    self.end(index, State::Committed);
                    self.committed.extend(offsets);
                } else {
                    self.undecided.push((index, Some(offsets)));
                }
                call.unknown();
            }
            _ => {
                let call = transaction.commit();
                if self.random.bool() {
                    self.poll(4); // while it commits
                }
                self.end(index, State::Committed);
                self.committed.extend(offsets);
                call.ok();
            }
        }
    }

    /// Ends a transaction: a control record in every log that it wrote to.
    pub(super) fn end(&mut self, index: usize, state: State) {
        self.transactions[index] = state;
        for log in &mut self.logs {
            if log.records.iter().any(|record| record.transaction == Some(index)) {
                let marker = Stored {
                    value: u64::MAX,
                    key: u64::MAX,
                    tombstone: false,
                    transaction: None,
                    gone: true,
                };
                log.records.push(marker);
            }
        }
    }

    /// Ends a transaction that was given up.
    pub(super) fn decide(&mut self) {
        if self.undecided.is_empty() {
            return;
        }
        let (index, commit) = self.undecided.remove(self.random.usize(..self.undecided.len()));
        match commit.filter(|_| self.random.bool()) {
            Some(offsets) => {
                self.end(index, State::Committed);
                self.committed.extend(offsets);
            }
            None => self.end(index, State::Aborted),
        }
    }

    pub(super) fn crash_producer(&mut self, at: usize) {
        let producer = &mut self.producers[at];
        producer.pending.clear();
        if let Some((transaction, index, _)) = producer.transaction.take() {
            drop(transaction);
            self.undecided.push((index, None));
        }
        self.recorder.client(&producer.name).crash();
    }
}
