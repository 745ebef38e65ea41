//! From a name to what is known of it.

use super::error::shown;
use super::{ConfigError, Definition, Scope, admin, broker, consumer, groups, producer};
use super::{replication, topic};

/// Most changes between a name and the one that was meant.
const MAX_CHANGES: usize = 4;

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Found {
    Setting(&'static Definition),
    /// The setting that goes by another name.
    Alias(&'static Definition),
    /// One of those that nothing inside of one process corresponds to.
    NoMeaning,
}

impl Scope {
    /// Its settings, each table in the order of names.
    pub(super) fn tables(self) -> &'static [&'static [Definition]] {
        match self {
            Self::Topic => &[topic::TABLE],
            Self::Broker => &[broker::TABLE, replication::TABLE, groups::TABLE],
            Self::Producer => &[producer::TABLE],
            Self::Consumer => &[consumer::TABLE],
            Self::Admin => &[admin::TABLE],
        }
    }

    pub(super) fn definitions(self) -> impl Iterator<Item = &'static Definition> {
        self.tables().iter().flat_map(|table| table.iter())
    }

    /// The setting of exactly this name.
    pub(super) fn definition(self, name: &str) -> Option<&'static Definition> {
        self.tables().iter().find_map(|table| {
            let at = table.binary_search_by(|definition| definition.name.cmp(name)).ok()?;
            table.get(at)
        })
    }

    /// What `name` stands for.
    pub(super) fn find(self, name: &str) -> Result<Found, ConfigError> {
        if let Some(definition) = self.definition(name) {
            return Ok(Found::Setting(definition));
        }
        if self != Self::Topic && NO_MEANING.iter().any(|pattern| matches(pattern, name)) {
            return Ok(Found::NoMeaning);
        }
        let alias = self.definitions().find(|definition| definition.aliases.contains(&name));
        match alias.or_else(|| self.counterpart(name)) {
            Some(definition) => Ok(Found::Alias(definition)),
            None => Err(self.unknown(name)),
        }
    }

    /// The name by which `name` is kept.
    pub(crate) fn canonical(self, name: &str) -> Result<&'static str, ConfigError> {
        match self.find(name)? {
            Found::Setting(definition) | Found::Alias(definition) => Ok(definition.name),
            Found::NoMeaning => Err(self.unknown(name)),
        }
    }

    /// A topic's setting by the broker's name for it, and the reverse.
    fn counterpart(self, name: &str) -> Option<&'static Definition> {
        match self {
            Self::Topic => self.definitions().find(|d| d.broker.contains(&(name, 1))),
            Self::Broker => {
                let topic = Self::Topic.definition(name)?;
                self.definition(topic.broker.first()?.0)
            }
            _ => None,
        }
    }

    pub(super) fn unknown(self, name: &str) -> ConfigError {
        let owner = Self::ALL.into_iter().find(|scope| scope.definition(name).is_some());
        let hint = match (owner, self.nearest(name)) {
            (Some(owner), _) => format!(": it is one of {}", owner.owners()),
            (None, Some(nearest)) => format!(": did you mean {nearest:?}?"),
            (None, None) => String::new(),
        };
        ConfigError::Unknown { name: shown(name), scope: self, hint }
    }

    /// The known name that takes the fewest changes to get to, if they are few.
    fn nearest(self, name: &str) -> Option<&'static str> {
        let distances = self.definitions().map(|d| (edit_distance(name, d.name), d.name));
        let most = MAX_CHANGES.min(name.len() / 2);
        distances.min().filter(|(distance, _)| *distance <= most).map(|(_, name)| name)
    }
}

/// Settings of brokers and clients for sockets, listeners, ZooKeeper, security, metrics, and what else a process does
/// not need to talk to itself. A `*` at an end stands for anything.
pub(super) const NO_MEANING: &[&str] = &[
    "*.append.linger.ms",
    "*.load.buffer.size",
    "*.purgatory.purge.interval.requests",
    "*.quota.window.num",
    "*.quota.window.size.seconds",
    "advertised.*",
    "authorizer.class.name",
    "bootstrap.controllers",
    "bootstrap.servers",
    "client.dns.lookup",
    "client.metrics.*",
    "connection.*",
    "connections.*",
    "control.plane.listener.name",
    "controller.listener.names",
    "controller.quorum.*",
    "delegation.token.*",
    "enable.metrics.push",
    "group.coordinator.threads",
    "host.name",
    "inter.broker.*",
    "kafka.metrics.*",
    "listener.*",
    "listeners",
    "max.connection*",
    "metadata.log.*",
    "metadata.recovery.*",
    "metric*",
    "num.io.threads",
    "num.network.threads",
    "port",
    "principal.builder.class",
    "process.roles",
    "queued.max.*",
    "quota.window.*",
    "receive.buffer.bytes",
    "reconnect.backoff*",
    "remote.log.*",
    "replica.socket.*",
    "sasl.*",
    "security.*",
    "send.buffer.bytes",
    "socket.*",
    "ssl.*",
    "zookeeper.*",
];

fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (_, Some(start)) => name.starts_with(start),
        _ => name == pattern,
    }
}

/// Characters to insert, remove or replace to make `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row = (0..=b.len()).collect::<Vec<_>>();
    for (i, x) in a.bytes().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (above, y) in row.iter_mut().zip(std::iter::once(None).chain(b.bytes().map(Some))) {
            let Some(y) = y else {
                *above = left;
                continue;
            };
            let cost = (diagonal + usize::from(x != y)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, cost);
            left = cost;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_changes() {
        for (a, b, distance) in
            [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("flaw", "lawn", 2)]
        {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }

    #[test]
    fn unknown_names_suggest_the_nearest() {
        let unknown = |scope: Scope, name| scope.find(name).unwrap_err().to_string();
        for (scope, name, message) in [
            (
                Scope::Topic,
                "retention.sm",
                r#"unknown setting "retention.sm" of topics: did you mean "retention.ms"?"#,
            ),
            (Scope::Topic, "color", r#"unknown setting "color" of topics"#),
            (
                Scope::Broker,
                "num.partitons",
                r#"unknown setting "num.partitons" of brokers: did you mean "num.partitions"?"#,
            ),
            (
                Scope::Producer,
                "max.poll.records",
                r#"unknown setting "max.poll.records" of producers: it is one of consumers"#,
            ),
        ] {
            assert_eq!(unknown(scope, name), message);
        }
    }

    #[test]
    fn misnomers_lead_to_what_was_meant() {
        for (scope, name, meant) in [
            (Scope::Broker, "log.segment.ms", "log.roll.ms"),
            (Scope::Broker, "num.partition", "num.partitions"),
            (Scope::Broker, "broker.id", "node.id"),
            (Scope::Broker, "retention.ms", "log.retention.ms"),
            (Scope::Broker, "max.message.bytes", "message.max.bytes"),
            (Scope::Topic, "message.max.bytes", "max.message.bytes"),
            (Scope::Topic, "log.cleanup.policy", "cleanup.policy"),
            (Scope::Producer, "request.required.acks", "acks"),
            (Scope::Consumer, "fetch.wait.max.ms", "fetch.max.wait.ms"),
        ] {
            let found = scope.find(name).unwrap();
            assert!(matches!(found, Found::Alias(d) if d.name == meant), "{name}: {found:?}");
        }
        // Another unit: to take the number for milliseconds would be worse than an error.
        assert!(Scope::Topic.find("log.retention.hours").is_err());
    }

    #[test]
    fn names_without_meaning_are_known_by_their_pattern() {
        for name in [
            "listeners",
            "socket.send.buffer.bytes",
            "zookeeper.connect",
            "ssl.keystore.location",
            "offsets.load.buffer.size",
            "max.connections.per.ip",
        ] {
            assert!(matches!(Scope::Broker.find(name), Ok(Found::NoMeaning)), "{name}");
        }
        assert!(Scope::Topic.find("ssl.keystore.location").is_err());
        assert!(Scope::Broker.find("listenersx").is_err());
    }
}
