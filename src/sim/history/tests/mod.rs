//! The checker's own tests: for each anomaly a smallest history that has it and nothing else, and a near miss.

mod groups;
mod model;
mod mutations;
mod polls;
mod sends;
mod transactions;

use super::*;
use crate::base::{Offset, PartitionId, TopicName, TopicPartition};

/// The partition of a topic that nothing special holds for.
fn email() -> TopicPartition {
    partition("email", 0)
}

fn partition(topic: &str, index: i32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(index).unwrap())
}

fn at(offset: u32) -> Offset {
    Offset::from(offset)
}

/// What a script is written with: one letter a client.
struct Script(Recorder);

impl Script {
    fn client(&self, name: &str) -> Client {
        self.0.client(name)
    }

    /// An acknowledged send to `email-0`.
    fn sent(&self, client: &str, value: u64, offset: u32) {
        self.client(client).send(value).ok(email(), at(offset));
    }

    /// A poll of `email-0`: offsets and values.
    fn polled(&self, client: &str, records: &[(u32, u64)]) {
        let records = records.iter().map(|(offset, value)| (email(), at(*offset), *value));
        self.client(client).poll().ok(records);
    }

    /// Manual assignment of `email-0`, from the beginning.
    fn assign(&self, client: &str) {
        self.client(client).assign([(email(), Some(at(0)))]);
    }
}

fn report(rules: &Rules, script: impl FnOnce(&Script)) -> Report {
    let recorder = Recorder::new();
    script(&Script(recorder.clone()));
    check(&recorder.history(), rules)
}

/// Checks that a history has one anomaly, of this kind.
#[track_caller]
fn has_only(kind: AnomalyKind, rules: &Rules, script: impl FnOnce(&Script)) -> Report {
    let report = report(rules, script);
    let kinds = report.anomalies().iter().map(Anomaly::kind).collect::<Vec<_>>();
    assert_eq!(kinds, [kind], "{report}");
    assert!(!report.anomalies()[0].witness().is_empty(), "{report}");
    report
}

#[track_caller]
fn has_none(rules: &Rules, script: impl FnOnce(&Script)) -> Report {
    let report = report(rules, script);
    assert!(report.is_ok(), "{report}");
    report
}
