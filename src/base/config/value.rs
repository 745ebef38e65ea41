//! Values of settings: from text, to text, and within their ranges.

use std::fmt;
use std::time::Duration;

use super::error::shown;
use super::{ConfigError, Definition, Kind, Standing};

/// The value of a setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Number(i64),
    Duration(Duration),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

impl Definition {
    /// The value that `text` stands for, read as Kafka reads it.
    pub(super) fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let trimmed = text.trim();
        let parsed = match self.kind {
            Kind::Bool => match trimmed {
                _ if trimmed.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
                _ if trimmed.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
                _ => None,
            },
            Kind::Number(..) => trimmed.parse().ok().map(Value::Number),
            Kind::Millis(min, max) => {
                let millis = trimmed.parse().ok().filter(|ms| (min..=max).contains(ms));
                let millis = millis.and_then(|ms| u64::try_from(ms).ok());
                millis.map(|ms| Value::Duration(Duration::from_millis(ms)))
            }
            Kind::Double(..) => trimmed.parse().ok().map(Value::Double),
            Kind::Text | Kind::Choice(_) => Some(Value::Text(trimmed.to_owned())),
            Kind::List(_) => {
                let items = trimmed.split(',').map(|item| item.trim().to_owned());
                let is_empty = trimmed.is_empty();
                Some(Value::List(if is_empty { Vec::new() } else { items.collect() }))
            }
        };
        let value = parsed.ok_or_else(|| self.out_of_range(text))?;
        self.check(value)
    }

    /// `value` as it is kept, if it is in range.
    pub(super) fn check(&self, value: Value) -> Result<Value, ConfigError> {
        let value = self.admit(value)?;
        if let Standing::Refused(why) = self.standing
            && Some(&value) != self.default_value()?.as_ref()
            && !value.is_empty()
        {
            return Err(ConfigError::Unsupported {
                name: self.name,
                value: shown(&value.to_string()),
                why,
            });
        }
        Ok(value)
    }

    fn admit(&self, value: Value) -> Result<Value, ConfigError> {
        let admitted = match (self.kind, &value) {
            (Kind::Bool, Value::Bool(_)) | (Kind::Text, Value::Text(_)) => Some(value.clone()),
            (Kind::Number(min, max), Value::Number(number)) => {
                let allowed = (min..=max).contains(number) || self.also == Some(*number);
                allowed.then(|| value.clone())
            }
            // The longest time there is stands for "for ever".
            (Kind::Millis(min, max), Value::Duration(time)) => {
                (*time >= millis(min)).then(|| Value::Duration((*time).min(millis(max))))
            }
            (Kind::Double(min, max), Value::Double(number)) => {
                (min..=max).contains(number).then(|| value.clone())
            }
            (Kind::Choice(choices), Value::Text(text)) => {
                choices.iter().find_map(|choice| chosen(choice, text)).map(Value::Text)
            }
            (Kind::List(choices), Value::List(items)) => {
                let chosen = |item: &String| match choices {
                    [] => (!item.is_empty()).then(|| item.clone()),
                    _ => choices.iter().find_map(|choice| chosen(choice, item)),
                };
                items.iter().map(chosen).collect::<Option<_>>().map(Value::List)
            }
            _ => None,
        };
        admitted.ok_or_else(|| self.out_of_range(&value))
    }

    pub(super) fn default_value(&self) -> Result<Option<Value>, ConfigError> {
        match (self.default, self.kind) {
            (None, Kind::List(_)) => Ok(Some(Value::List(Vec::new()))),
            (None, _) => Ok(None),
            // Its range has been looked at by a test; `check` would ask for the default again.
            (Some(text), _) => Self { standing: Standing::InEffect, ..*self }.parse(text).map(Some),
        }
    }

    fn out_of_range(&self, value: impl ToString) -> ConfigError {
        ConfigError::out_of_range(self.name, value, self.allowed())
    }

    /// The values that are allowed, for people.
    fn allowed(&self) -> String {
        let range = self.range();
        match self.kind {
            Kind::Bool | Kind::Text => range,
            Kind::Number(..) | Kind::Double(..) => format!("a number, {range}"),
            Kind::Millis(..) => format!("a number of milliseconds, {range}"),
            Kind::Choice(_) => format!("one of {range}"),
            Kind::List(_) => format!("{range}; separated by commas"),
        }
    }

    pub(super) fn range(&self) -> String {
        let range = match self.kind {
            Kind::Bool => "true or false".to_owned(),
            Kind::Number(min, i64::MAX) | Kind::Millis(min, i64::MAX) => format!("{min} or more"),
            Kind::Number(min, max) | Kind::Millis(min, max) => format!("{min} to {max}"),
            Kind::Double(min, f64::MAX) => format!("{min} or more"),
            Kind::Double(min, max) => format!("{min} to {max}"),
            Kind::Text | Kind::List([]) => "any".to_owned(),
            Kind::Choice(choices) | Kind::List(choices) => choices.join(", "),
        };
        match self.also {
            Some(number) => format!("{range}, or {number}"),
            None => range,
        }
    }
}

/// `choice` if `text` is it; `text` itself if `choice` stands for all that begin like it.
fn chosen(choice: &str, text: &str) -> Option<String> {
    if choice.eq_ignore_ascii_case(text) {
        return Some(choice.to_owned());
    }
    let prefix = choice.split_inclusive(':').next().filter(|prefix| prefix.len() < choice.len())?;
    let begins = text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    begins.then(|| text.to_owned())
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

impl Value {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            _ => false,
        }
    }
}

/// As Kafka writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Duration(time) if time.subsec_nanos() % 1_000_000 == 0 => time.as_millis().fmt(f),
            Self::Duration(time) => (time.as_secs_f64() * 1e3).fmt(f),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(value) => value.fmt(f),
            Self::List(items) => items.join(",").fmt(f),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// A number that no setting of Kafka's can hold is out of the range of all of them.
macro_rules! from_numbers {
    ($($int:ty)*) => {
        $(impl From<$int> for Value {
            fn from(value: $int) -> Self {
                Self::Number(i64::try_from(value).unwrap_or(i64::MAX))
            }
        })*
    };
}

from_numbers!(i32 u32 u64 usize);

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Duration(time)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
