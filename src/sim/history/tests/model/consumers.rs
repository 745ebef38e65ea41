//! What consumers and members of the group do.

use super::*;

impl Model {
    /// Ends the poll that was begun, or begins one.
    pub(super) fn poll(&mut self, at: usize) {
        if self.end_poll(at) {
            return;
        }
        let name = self.consumers[at].name.clone();
        let committed = self.consumers[at].committed;
        let polling = self.recorder.client(&name).poll();
        if self.random.u32(..20) == 0 {
            return polling.failed();
        }
        let mut returned = Vec::new();
        for log in self.consumers[at].positions.clone().into_keys() {
            let most = self.random.usize(..8);
            let from = self.consumers[at].positions[&log];
            let (next, read) = self.read(log, from, most, committed);
            let records = &self.logs[log].records;
            let name = &self.logs[log].name;
            returned
                .extend(read.into_iter().map(|at| (name.clone(), Self::at(at), records[at].value)));
            self.consumers[at].positions.insert(log, next);
        }
        self.consumers[at].polling = Some((polling, returned));
        if self.random.bool() {
            self.end_poll(at);
        }
    }

    pub(super) fn end_poll(&mut self, at: usize) -> bool {
        let polling = self.consumers[at].polling.take();
        let ended = polling.is_some();
        if let Some((polling, returned)) = polling {
            polling.ok(returned);
        }
        ended
    }

    pub(super) fn seek(&mut self, at: usize) {
        self.end_poll(at);
        let consumer = &mut self.consumers[at];
        let client = self.recorder.client(&consumer.name);
        if !consumer.member && (consumer.positions.is_empty() || self.random.u32(..4) == 0) {
            let logs = (0..self.logs.len()).filter(|_| self.random.bool()).collect::<Vec<_>>();
            consumer.positions.retain(|log, _| logs.contains(log));
            for log in &logs {
                consumer.positions.entry(*log).or_insert(self.logs[*log].start);
            }
            client.assign(consumer.positions.iter().map(|(log, position)| {
                let known = self.random.bool().then(|| Self::at(*position));
                (&self.logs[*log].name, known)
            }));
        } else if let Some((log, position)) = consumer.positions.iter_mut().next() {
            *position = self.random.usize(..=self.logs[*log].records.len());
            client.seek(&self.logs[*log].name, Some(Self::at(*position)));
        }
    }

    /// Gives the two `email` partitions to the members anew.
    pub(super) fn rebalance(&mut self) {
        self.generation += 1;
        let owner = [3, 4].map(|member| (member, self.random.bool()));
        for (member, _) in owner {
            self.end_poll(member);
            let consumer = &mut self.consumers[member];
            let client = self.recorder.client(&consumer.name);
            client.revoked(consumer.positions.keys().map(|log| &self.logs[*log].name));
            consumer.positions.clear();
        }
        for (log, (_, first)) in owner.into_iter().enumerate() {
            let member = if first { 3 } else { 4 };
            let position = self.committed.get(&log).copied().unwrap_or(self.logs[log].start);
            let consumer = &mut self.consumers[member];
            consumer.positions.insert(log, position);
            let assigned = [(&self.logs[log].name, Some(Self::at(position)))];
            self.recorder.client(&consumer.name).assigned(GROUP, self.generation, assigned);
        }
    }

    pub(super) fn commit(&mut self, at: usize) {
        let consumer = &self.consumers[at];
        let owned = consumer.positions.iter().next().filter(|_| consumer.member);
        let Some((&log, &position)) = owned else { return };
        let client = self.recorder.client(&consumer.name);
        let call = client.commit(GROUP, [(&self.logs[log].name, Self::at(position))]);
        match self.random.u32(..5) {
            0 => call.failed(),
            1 => call.unknown(), // and it is not there
            2 => {
                self.committed.insert(log, position);
                call.unknown();
            }
            _ => {
                self.committed.insert(log, position);
                call.ok();
            }
        }
    }

    pub(super) fn ask_committed(&mut self, at: usize) {
        let log = self.random.usize(..2);
        let client = self.recorder.client(&self.consumers[at].name);
        let query = client.committed(GROUP, &self.logs[log].name);
        query.ok(self.committed.get(&log).map(|offset| Self::at(*offset)));
    }

    pub(super) fn watch(&mut self, at: usize) {
        let client = self.recorder.client(&self.consumers[at].name);
        for log in &self.logs {
            let query = client.watermarks(&log.name);
            query.ok(Self::at(log.start), Self::at(log.records.len()));
        }
    }

    pub(super) fn crash_consumer(&mut self, at: usize) {
        let consumer = &mut self.consumers[at];
        consumer.polling = None;
        consumer.positions.clear();
        self.recorder.client(&consumer.name).crash();
    }
}
