//! Settings that are valid, and how they are read.

use std::collections::BTreeMap;
use std::time::Duration;

use super::value::Value;
use super::{ConfigError, Definition, Scope, Standing};

/// What was set in one scope. The rest has its defaults.
///
/// Reading a name that the scope does not have, or as another type than it has, is an error like any other: it is
/// found by the first test that reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    scope: Scope,
    values: BTreeMap<&'static str, Value>,
}

/// Where the value of a setting comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Nobody set it.
    Default,
    /// A setting of the broker, Kafka's `STATIC_BROKER_CONFIG`.
    Broker,
    /// An override of the topic, Kafka's `DYNAMIC_TOPIC_CONFIG`.
    Topic,
}

/// One setting with its value, from [`Topic::describe_config`](crate::Topic::describe_config) or
/// [`Cluster::describe_config`](crate::Cluster::describe_config).
///
/// ```
/// use brooklet::{Cluster, ConfigSource, NewTopic};
///
/// let cluster = Cluster::in_memory()?;
/// let email = cluster.create_topic(NewTopic::new("email").config("segment.bytes", 1 << 20))?;
/// for setting in email.describe_config()? {
///     if setting.source == ConfigSource::Topic {
///         println!("{}={:?}  {}", setting.name, setting.value, setting.documentation);
///     }
/// }
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: &'static str,
    /// The value, as Kafka would write it. `None` for none.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Whether it is acted upon. Others are checked and kept: what they govern is not built, or has no meaning within
    /// one process.
    pub in_effect: bool,
    /// One sentence on what the setting does.
    pub documentation: &'static str,
}

impl ConfigEntry {
    fn new(definition: &Definition, value: Option<&Value>, source: ConfigSource) -> Self {
        Self {
            name: definition.name,
            value: value.map(Value::to_string),
            source,
            in_effect: definition.standing == Standing::InEffect,
            documentation: definition.doc,
        }
    }
}

impl Config {
    /// All defaults.
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope, values: BTreeMap::new() }
    }

    /// The settings that were set, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.values.iter().map(|(name, value)| (*name, value.to_string()))
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    pub(super) fn insert(&mut self, definition: &'static Definition, value: Value) {
        self.values.insert(definition.name, value);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.values.remove(name);
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Every setting of the scope.
    pub(crate) fn describe(&self) -> Result<Vec<ConfigEntry>, ConfigError> {
        let entry = |definition: &'static Definition| match self.values.get(definition.name) {
            Some(value) => Ok(ConfigEntry::new(definition, Some(value), ConfigSource::Broker)),
            None => {
                let value = definition.default_value()?;
                Ok(ConfigEntry::new(definition, value.as_ref(), ConfigSource::Default))
            }
        };
        let mut entries = self.scope.definitions().map(entry).collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|entry| entry.name);
        Ok(entries)
    }
}

/// Settings, however they came about.
pub(crate) trait ReadConfig {
    /// The value of a setting, `None` if it has none.
    fn value(&self, name: &str) -> Result<Option<Value>, ConfigError>;

    fn bool(&self, name: &'static str) -> Result<bool, ConfigError> {
        match self.value(name)? {
            Some(Value::Bool(value)) => Ok(value),
            other => Err(wrong_type(name, other.as_ref())),
        }
    }

    /// A number, of whatever type can hold it.
    fn number<T: TryFrom<i64>>(&self, name: &'static str) -> Result<T, ConfigError> {
        match self.value(name)? {
            Some(Value::Number(number)) => converted(name, number),
            other => Err(wrong_type(name, other.as_ref())),
        }
    }

    /// A number for which -1, or nothing at all, stands for none.
    fn optional<T: TryFrom<i64>>(&self, name: &'static str) -> Result<Option<T>, ConfigError> {
        match self.value(name)? {
            None | Some(Value::Number(-1)) => Ok(None),
            Some(Value::Number(number)) => converted(name, number).map(Some),
            other => Err(wrong_type(name, other.as_ref())),
        }
    }

    fn double(&self, name: &'static str) -> Result<f64, ConfigError> {
        match self.value(name)? {
            Some(Value::Double(value)) => Ok(value),
            other => Err(wrong_type(name, other.as_ref())),
        }
    }

    fn duration(&self, name: &'static str) -> Result<Duration, ConfigError> {
        match self.value(name)? {
            Some(Value::Duration(value)) => Ok(value),
            other => Err(wrong_type(name, other.as_ref())),
        }
    }

    /// A text, empty if there is none.
    fn text(&self, name: &'static str) -> Result<String, ConfigError> {
        match self.value(name)? {
            None => Ok(String::new()),
            Some(Value::Text(value)) => Ok(value),
            other => Err(wrong_type(name, other.as_ref())),
        }
    }

    /// A text that stands for something.
    fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let text = self.text(name)?;
        parse(&text).ok_or_else(|| ConfigError::out_of_range(name, text, "it cannot be read"))
    }

    fn list(&self, name: &'static str) -> Result<Vec<String>, ConfigError> {
        match self.value(name)? {
            Some(Value::List(items)) => Ok(items),
            other => Err(wrong_type(name, other.as_ref())),
        }
    }
}

fn converted<T: TryFrom<i64>>(name: &'static str, number: i64) -> Result<T, ConfigError> {
    let value = T::try_from(number);
    value.map_err(|_| ConfigError::out_of_range(name, number, "too much for this platform"))
}

fn wrong_type(name: &'static str, value: Option<&Value>) -> ConfigError {
    let value = value.map(Value::to_string).unwrap_or_default();
    ConfigError::out_of_range(name, value, "a value of another type")
}

impl ReadConfig for Config {
    fn value(&self, name: &str) -> Result<Option<Value>, ConfigError> {
        match (self.values.get(name), self.scope.definition(name)) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, Some(definition)) => definition.default_value(),
            (None, None) => Err(self.scope.unknown(name)),
        }
    }
}

/// The settings of a topic that count: its own, else the broker's, else the defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effective<'a> {
    pub(crate) topic: &'a Config,
    pub(crate) broker: &'a Config,
}

impl Effective<'_> {
    fn find(&self, definition: &Definition) -> Result<(Option<Value>, ConfigSource), ConfigError> {
        if let Some(value) = self.topic.values.get(definition.name) {
            return Ok((Some(value.clone()), ConfigSource::Topic));
        }
        let set = definition.broker.iter().find_map(|(name, unit)| {
            let value = self.broker.values.get(name)?;
            Some((Some(times(value, *unit, definition)), ConfigSource::Broker))
        });
        set.map_or_else(|| Ok((definition.default_value()?, ConfigSource::Default)), Ok)
    }

    /// Every setting of topics, in the order of names.
    pub(crate) fn describe(&self) -> Result<Vec<ConfigEntry>, ConfigError> {
        let entries = Scope::Topic.definitions().map(|definition| {
            let (value, source) = self.find(definition)?;
            Ok(ConfigEntry::new(definition, value.as_ref(), source))
        });
        entries.collect()
    }
}

impl ReadConfig for Effective<'_> {
    fn value(&self, name: &str) -> Result<Option<Value>, ConfigError> {
        let definition = Scope::Topic.definition(name);
        let definition = definition.ok_or_else(|| Scope::Topic.unknown(name))?;
        Ok(self.find(definition)?.0)
    }
}

/// A broker's value in the unit of the topic's setting. Negative ones stand for none in any unit.
fn times(value: &Value, unit: i64, definition: &Definition) -> Value {
    match (value, definition.kind) {
        (Value::Number(number), super::Kind::Millis(..)) => {
            let ms = u64::try_from(number.saturating_mul(unit)).unwrap_or(0);
            Value::Duration(Duration::from_millis(ms))
        }
        (Value::Number(number), _) if *number < 0 => Value::Number(*number),
        (Value::Number(number), _) => Value::Number(number.saturating_mul(unit)),
        (other, _) => other.clone(),
    }
}
