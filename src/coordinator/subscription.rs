//! Which topics a member of a group reads.

use std::collections::BTreeSet;
use std::fmt;

use regex_lite::Regex;

use crate::base::TopicName;
use crate::coordinator::error::GroupError;
use crate::coordinator::ids::ShortText;

/// Topics for a member of a group to read: by their names, or all whose names match a pattern.
///
/// ```
/// use brooklet::Subscription;
///
/// let two = Subscription::from(["email", "sms"]);
/// let one = Subscription::from("email");
/// let many = Subscription::pattern("audit-.*");
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subscription {
    names: BTreeSet<String>,
    pattern: Option<String>,
}

impl Subscription {
    /// The topics of these names.
    pub fn names(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect(), pattern: None }
    }

    /// Topics whose whole name matches a regular expression, those too that are created later. The cluster's own are left
    /// out (`exclude.internal.topics`).
    pub fn pattern(pattern: impl Into<String>) -> Self {
        Self { names: BTreeSet::new(), pattern: Some(pattern.into()) }
    }

    /// The names that were given, in order.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// `with_internal` lets patterns match the cluster's own topics too.
    pub(crate) fn check(&self, with_internal: bool) -> Result<Subscribed, GroupError> {
        let names = self.names.iter().map(|name| TopicName::new(name));
        let names = names.collect::<Result<BTreeSet<_>, _>>()?;
        let pattern = self
            .pattern
            .as_deref()
            .map(|pattern| Pattern::new(pattern, with_internal))
            .transpose()?;
        Ok(Subscribed { names, pattern })
    }
}

impl From<&str> for Subscription {
    fn from(name: &str) -> Self {
        Self::names([name])
    }
}

impl From<String> for Subscription {
    fn from(name: String) -> Self {
        Self::names([name])
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for Subscription {
    fn from(names: [S; N]) -> Self {
        Self::names(names)
    }
}

impl<S: Into<String>> From<Vec<S>> for Subscription {
    fn from(names: Vec<S>) -> Self {
        Self::names(names)
    }
}

impl<S: Into<String> + Clone> From<&[S]> for Subscription {
    fn from(names: &[S]) -> Self {
        Self::names(names.iter().cloned())
    }
}

/// A subscription that is valid.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Subscribed {
    pub(crate) names: BTreeSet<TopicName>,
    pattern: Option<Pattern>,
}

impl Subscribed {
    pub(crate) fn contains(&self, topic: &TopicName) -> bool {
        self.names.contains(topic)
            || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(topic))
    }

    /// The pattern as it was given.
    pub(crate) fn pattern(&self) -> Option<&ShortText> {
        self.pattern.as_ref().map(|pattern| &pattern.text)
    }
}

/// As the tools of Kafka would show it.
impl fmt::Display for Subscribed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.iter().map(TopicName::as_str);
        let all = names.chain(self.pattern().map(ShortText::as_str)).collect::<Vec<_>>();
        f.write_str(&all.join(","))
    }
}

#[derive(Clone, Debug)]
struct Pattern {
    text: ShortText,
    regex: Regex,
    with_internal: bool,
}

impl Pattern {
    fn new(pattern: &str, with_internal: bool) -> Result<Self, GroupError> {
        let refused = |reason: String| GroupError::InvalidPattern {
            pattern: pattern.chars().take(256).collect(),
            reason,
        };
        let text = ShortText::new(pattern).ok_or_else(|| refused("it is too long".to_owned()))?;
        // By itself first: with what is around it, it may be another one. Of the whole name, as in Kafka.
        let regex = Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$")));
        let regex = regex.map_err(|e| refused(e.to_string()))?;
        Ok(Self { text, regex, with_internal })
    }

    fn matches(&self, topic: &TopicName) -> bool {
        (self.with_internal || !topic.is_internal()) && self.regex.is_match(topic.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.with_internal) == (&other.text, other.with_internal)
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    #[test]
    fn a_pattern_is_for_the_whole_name() {
        let subscribed = Subscription::pattern("audit|audit-.*").check(false).unwrap();
        let matches =
            ["audit", "audit-eu", "my-audit", "audits"].map(|n| subscribed.contains(&topic(n)));
        assert_eq!(matches, [true, true, false, false]);
    }

    #[test]
    fn patterns_leave_out_the_clusters_own_topics() {
        let subscribed = Subscription::pattern(".*").check(false).unwrap();
        assert!(!subscribed.contains(&topic("__consumer_offsets")));
        let all = Subscription::pattern(".*").check(true).unwrap();
        assert!(all.contains(&topic("__consumer_offsets")));
        let named = Subscription::from("__consumer_offsets").check(false).unwrap();
        assert!(named.contains(&topic("__consumer_offsets")));
    }

    #[test]
    fn bad_names_and_patterns_are_refused() {
        let error = Subscription::from("a/b").check(false).unwrap_err();
        assert!(matches!(error, GroupError::InvalidTopicName(_)), "{error}");
        // The last is one only with something around it.
        for pattern in ["(", "a)|(b"] {
            let error = Subscription::pattern(pattern).check(false).unwrap_err();
            assert!(matches!(error, GroupError::InvalidPattern { .. }), "{error}");
        }
    }
}
