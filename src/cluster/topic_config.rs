//! A topic's settings, under Kafka's names.
//!
//! # Invariants
//! - A [`TopicConfig`] that exists is valid: names are known and values in range.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::FlushPolicy;
use crate::storage::LogConfig;

/// A setting that cannot be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("unknown setting {name:?}{}", suggestion.map(|s| format!(": did you mean {s:?}?")).unwrap_or_default())]
    Unknown { name: String, suggestion: Option<&'static str> },
    #[error("{name}={value:?} is not possible: {allowed}")]
    OutOfRange { name: &'static str, value: String, allowed: String },
}

impl ConfigError {
    pub(crate) fn out_of_range(
        name: &'static str,
        value: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        Self::OutOfRange { name, value: value.to_string(), allowed: allowed.into() }
    }
}

/// One setting that a topic may override.
struct Setting {
    name: &'static str,
    min: i64,
    max: i64,
}

const INT_MAX: i64 = i32::MAX as i64;

/// Every setting that topics have, and the values it takes.
const SETTINGS: &[Setting] = &[
    Setting { name: "flush.messages", min: 1, max: i64::MAX },
    Setting { name: "flush.ms", min: 0, max: i64::MAX },
    Setting { name: "index.interval.bytes", min: 0, max: INT_MAX },
    Setting { name: "max.message.bytes", min: 0, max: INT_MAX },
    Setting { name: "retention.bytes", min: -1, max: i64::MAX },
    Setting { name: "retention.ms", min: -1, max: i64::MAX },
    Setting { name: "segment.bytes", min: 14, max: INT_MAX },
    Setting { name: "segment.index.bytes", min: 24, max: INT_MAX },
];

/// Settings of one topic that differ from their defaults.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TopicConfig(BTreeMap<&'static str, i64>);

impl TopicConfig {
    /// Checks settings given as strings.
    pub(crate) fn parse<'a>(
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, value) in settings {
            let Some(setting) = SETTINGS.iter().find(|s| s.name == name) else {
                return Err(ConfigError::Unknown {
                    name: name.chars().take(64).collect(),
                    suggestion: nearest(name),
                });
            };
            let number =
                value.trim().parse().ok().filter(|n| (setting.min..=setting.max).contains(n));
            let Some(number) = number else {
                let allowed = format!("{} to {}", setting.min, setting.max);
                return Err(ConfigError::out_of_range(setting.name, value, allowed));
            };
            config.0.insert(setting.name, number);
        }
        Ok(config)
    }

    /// The settings, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().map(|(name, value)| (*name, value.to_string()))
    }

    /// What the topic's logs are to keep to.
    pub(crate) fn log_config(&self) -> LogConfig {
        let default = LogConfig::default();
        let value = |name, default| {
            self.0.get(name).and_then(|value| u32::try_from(*value).ok()).unwrap_or(default)
        };
        LogConfig {
            segment_bytes: value("segment.bytes", default.segment_bytes),
            index_interval_bytes: value("index.interval.bytes", default.index_interval_bytes),
            segment_index_bytes: value("segment.index.bytes", default.segment_index_bytes),
            max_message_bytes: value("max.message.bytes", default.max_message_bytes),
            ..default
        }
    }

    /// The topic's flush policy: `flush.ms` or `flush.messages` select the interval policy, as in Kafka.
    pub(crate) fn flush_policy(&self, of_cluster: FlushPolicy) -> FlushPolicy {
        let setting = |name| self.0.get(name).and_then(|value| u64::try_from(*value).ok());
        match (setting("flush.ms"), setting("flush.messages")) {
            (None, None) => of_cluster,
            (time, messages) => FlushPolicy::Interval {
                time: time.map_or(Duration::MAX, Duration::from_millis),
                messages,
            },
        }
    }
}

/// The known name that takes the fewest changes to get to, if they are few.
fn nearest(name: &str) -> Option<&'static str> {
    let distances = SETTINGS.iter().map(|s| (edit_distance(name, s.name), s.name));
    distances.min().filter(|(distance, _)| *distance <= 4).map(|(_, name)| name)
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
    fn unknown_names_suggest_the_nearest() {
        let unknown = |name: &str| TopicConfig::parse([(name, "1")]).unwrap_err().to_string();
        assert_eq!(
            unknown("retention.sm"),
            r#"unknown setting "retention.sm": did you mean "retention.ms"?"#
        );
        assert_eq!(unknown("color"), r#"unknown setting "color""#);
    }

    #[test]
    fn values_out_of_range_name_the_range() {
        for (name, value) in [
            ("segment.bytes", "13"),
            ("segment.bytes", "2147483648"),
            ("retention.ms", "-2"),
            ("flush.messages", "0"),
            ("segment.bytes", "1k"),
        ] {
            let error = TopicConfig::parse([(name, value)]).unwrap_err();
            assert!(
                matches!(&error, ConfigError::OutOfRange { name: n, .. } if *n == name),
                "{error}"
            );
        }
    }

    #[test]
    fn flush_settings_select_the_interval_policy() {
        let policy =
            |name| TopicConfig::parse([(name, "5")]).unwrap().flush_policy(FlushPolicy::OnAck);
        assert_eq!(
            policy("flush.ms"),
            FlushPolicy::Interval { time: Duration::from_millis(5), messages: None }
        );
        assert_eq!(
            policy("flush.messages"),
            FlushPolicy::Interval { time: Duration::MAX, messages: Some(5) }
        );
        assert_eq!(policy("retention.ms"), FlushPolicy::OnAck);
    }

    #[test]
    fn edit_distance_counts_changes() {
        for (a, b, distance) in
            [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("flaw", "lawn", 2)]
        {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }
}
