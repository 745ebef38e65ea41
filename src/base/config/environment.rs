//! Settings in the environment, as the container images of Kafka take them.

/// What an environment variable stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Variable {
    /// A setting of the broker.
    Setting(String),
    /// `KAFKA_CREATE_TOPICS`: topics to create.
    CreateTopics,
    /// `KAFKA_CREATE_TOPICS_SEPARATOR`: what stands between them.
    Separator,
}

/// What images set or take for their scripts and for the JVM.
const NO_SETTINGS: &[&str] = &[
    "CLUSTER_ID",
    "DEBUG",
    "GC_LOG_OPTS",
    "HEAP_OPTS",
    "HOME",
    "JMX_HOSTNAME",
    "JMX_OPTS",
    "JMX_PORT",
    "JVM_PERFORMANCE_OPTS",
    "KRAFT_CLUSTER_ID",
    "LOG",
    "OPTS",
    "VERSION",
];

/// What begins like this is for log4j, or set by Kubernetes for a service of the name `kafka`.
const NO_SETTINGS_BEGIN: &[&str] = &["LOG4J_", "PORT_", "SERVICE_"];

impl Variable {
    /// What the variable `name` stands for, `None` if it is not for the broker.
    ///
    /// `KAFKA_`, or `KAFKA_CFG_`, is left out, letters become small, and `_` becomes `.`, `__` becomes `_` and `___`
    /// becomes `-`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("KAFKA_")?;
        let setting = match name.strip_prefix("CFG_") {
            Some(setting) => setting,
            None if name == "CREATE_TOPICS" => return Some(Self::CreateTopics),
            None if name == "CREATE_TOPICS_SEPARATOR" => return Some(Self::Separator),
            None if NO_SETTINGS.contains(&name) => return None,
            None if NO_SETTINGS_BEGIN.iter().any(|start| name.starts_with(start)) => return None,
            None => name,
        };
        let setting = setting.replace("___", "-").replace("__", "\0").replace('_', ".");
        Some(Self::Setting(setting.replace('\0', "_").to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_images() {
        for (variable, name) in [
            ("KAFKA_NUM_PARTITIONS", "num.partitions"),
            ("KAFKA_CFG_NUM_PARTITIONS", "num.partitions"),
            ("KAFKA_LOG_RETENTION_MS", "log.retention.ms"),
            ("KAFKA_ABC__DEF", "abc_def"),
            ("KAFKA_ABC___DEF", "abc-def"),
            ("KAFKA_ABC_DEF", "abc.def"),
            ("KAFKA_ABC____DEF", "abc-.def"),
        ] {
            assert_eq!(Variable::parse(variable), Some(Variable::Setting(name.to_owned())));
        }
        assert_eq!(Variable::parse("KAFKA_CREATE_TOPICS"), Some(Variable::CreateTopics));
        for other in [
            "PATH",
            "KAFKA",
            "kafka_num_partitions",
            "KAFKA_HEAP_OPTS",
            "KAFKA_LOG4J_OPTS",
            "KAFKA_SERVICE_HOST",
            "KAFKA_PORT_9092_TCP",
        ] {
            assert_eq!(Variable::parse(other), None, "{other}");
        }
    }
}
