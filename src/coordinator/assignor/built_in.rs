//! The assignors that come with the crate, by name.

use std::sync::Arc;

use super::{
    Assignor, CooperativeStickyAssignor, RangeAssignor, RoundRobinAssignor, StickyAssignor,
    UniformAssignor,
};

/// Their names, the default first: for messages.
pub(crate) const BUILT_IN: [&str; 5] =
    ["uniform", "range", "roundrobin", "sticky", "cooperative-sticky"];

/// The assignor of this name, or of this name of a class of Kafka's, with its package or without.
pub(crate) fn built_in(name: &str) -> Option<Arc<dyn Assignor>> {
    let of_clients = name.strip_prefix("org.apache.kafka.clients.consumer.");
    let of_brokers = name.strip_prefix("org.apache.kafka.coordinator.group.assignor.");
    let class = of_clients.or(of_brokers).unwrap_or(name);
    Some(match (class, class == name) {
        ("UniformAssignor", _) | ("uniform", true) => Arc::new(UniformAssignor),
        ("RangeAssignor", _) | ("range", true) => Arc::new(RangeAssignor),
        ("RoundRobinAssignor", _) | ("roundrobin", true) => Arc::new(RoundRobinAssignor),
        ("StickyAssignor", _) | ("sticky", true) => Arc::new(StickyAssignor),
        ("CooperativeStickyAssignor", _) | ("cooperative-sticky", true) => {
            Arc::new(CooperativeStickyAssignor)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignors_are_found_by_their_own_names() {
        for name in BUILT_IN {
            assert_eq!(built_in(name).unwrap().name(), name);
        }
    }

    #[test]
    fn assignors_are_found_by_the_names_of_kafkas_classes() {
        for (class, name) in [
            ("UniformAssignor", "uniform"),
            ("RangeAssignor", "range"),
            ("RoundRobinAssignor", "roundrobin"),
            ("StickyAssignor", "sticky"),
            ("CooperativeStickyAssignor", "cooperative-sticky"),
            ("org.apache.kafka.clients.consumer.RangeAssignor", "range"),
            ("org.apache.kafka.clients.consumer.CooperativeStickyAssignor", "cooperative-sticky"),
            ("org.apache.kafka.coordinator.group.assignor.UniformAssignor", "uniform"),
        ] {
            assert_eq!(built_in(class).unwrap().name(), name, "{class}");
        }
    }

    #[test]
    fn other_names_are_of_no_assignor() {
        for name in
            ["", "Range", "RANGE", "rangeassignor", "org.apache.kafka.clients.consumer.range"]
        {
            assert!(built_in(name).is_none(), "{name}");
        }
    }

    #[test]
    fn only_one_of_them_is_cooperative() {
        let cooperative: Vec<_> =
            BUILT_IN.into_iter().filter(|name| built_in(name).unwrap().is_cooperative()).collect();
        assert_eq!(cooperative, ["cooperative-sticky"]);
    }
}
