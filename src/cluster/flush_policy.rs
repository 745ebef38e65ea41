//! Which flush policy settings amount to.

use std::time::Duration;

use crate::base::{Config, ConfigError, Effective, FlushPolicy, ReadConfig};

const POLICY: &str = "brooklet.flush.policy";

/// The longest time and the largest number that can be named stand for "never".
const NEVER: u64 = i64::MAX.unsigned_abs();

/// Settings that say something about the policy of syncs, and what they are called there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) settings: &'a Config,
    /// Those that bound what is unsynced: setting one selects the policy `interval`.
    pub(super) bounds: &'static [&'static str],
}

impl Source<'_> {
    /// Whether it says anything.
    pub(super) fn is_set(&self) -> bool {
        self.settings.is_set(POLICY) || self.is_bounded()
    }

    fn is_bounded(&self) -> bool {
        self.bounds.iter().any(|name| self.settings.is_set(name))
    }

    /// The policy that is named, or selected. Its bounds are those of a topic with settings `effective`.
    pub(super) fn policy(&self, effective: &Effective<'_>) -> Result<FlushPolicy, ConfigError> {
        let named = effective.text(POLICY)?;
        let is_selected = self.is_bounded() && !self.settings.is_set(POLICY);
        match named.as_str() {
            _ if is_selected => interval(effective),
            "interval" => interval(effective),
            _ if self.is_bounded() => Err(ConfigError::Invalid(format!(
                "{POLICY}={named} contradicts {}, which select \"interval\"",
                self.bounds.join(" and ")
            ))),
            "os" => Ok(FlushPolicy::Os),
            _ => Ok(FlushPolicy::OnAck),
        }
    }

    /// Who asks for intervals has to say how long they are.
    pub(super) fn check(&self, policy: FlushPolicy) -> Result<(), ConfigError> {
        let never = FlushPolicy::Interval { time: Duration::MAX, messages: None };
        if policy == never && self.is_set() && !self.is_bounded() {
            let message = format!("{POLICY}=interval needs {}", self.bounds.join(" or "));
            return Err(ConfigError::Invalid(message));
        }
        Ok(())
    }
}

fn interval(effective: &Effective<'_>) -> Result<FlushPolicy, ConfigError> {
    let time = Some(effective.duration("flush.ms")?);
    let time = time.filter(|time| *time < Duration::from_millis(NEVER)).unwrap_or(Duration::MAX);
    let messages = Some(effective.number("flush.messages")?).filter(|count| *count < NEVER);
    Ok(FlushPolicy::Interval { time, messages })
}
