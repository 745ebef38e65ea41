//! Settings that cannot be.

use super::Scope;

/// A setting that cannot be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("unknown setting {name:?} of {}{hint}", scope.owners())]
    Unknown { name: String, scope: Scope, hint: String },
    #[error("{name}={value:?} is not possible: {allowed}")]
    OutOfRange { name: &'static str, value: String, allowed: String },
    #[error("{name}={value:?} is not supported: {why}")]
    Unsupported { name: &'static str, value: String, why: &'static str },
    /// Settings that contradict each other, or a text that holds none.
    #[error("{0}")]
    Invalid(String),
    #[error("{place}: {error}")]
    At { place: String, error: Box<ConfigError> },
}

impl ConfigError {
    pub(crate) fn out_of_range(
        name: &'static str,
        value: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        Self::OutOfRange { name, value: shown(&value.to_string()), allowed: allowed.into() }
    }

    /// The same error, with where the setting was found.
    pub(crate) fn at(self, place: impl Into<String>) -> Self {
        Self::At { place: place.into(), error: Box::new(self) }
    }
}

/// As much of a caller's text as a message should hold.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
