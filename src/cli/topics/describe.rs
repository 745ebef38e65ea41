//! What `--describe` prints.

use brooklet::{BrokerId, ConfigSource, PartitionDescription, Topic};
use clap::Args;

use super::super::output::{Failure, Output};
use super::NOT_DESCRIBE;

/// Which topics and partitions are described.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Filter {
    /// Describe only topics that override settings, without their partitions
    #[arg(long, conflicts_with_all = NOT_DESCRIBE)]
    topics_with_overrides: bool,

    /// Describe only partitions with replicas that are not in sync
    #[arg(long, conflicts_with_all = NOT_DESCRIBE)]
    under_replicated_partitions: bool,

    /// Describe only partitions without a leader
    #[arg(long, conflicts_with_all = NOT_DESCRIBE)]
    unavailable_partitions: bool,

    /// Describe only partitions with fewer replicas in sync than min.insync.replicas
    #[arg(long, conflicts_with_all = NOT_DESCRIBE)]
    under_min_isr_partitions: bool,

    /// Describe only partitions with just as many replicas in sync as min.insync.replicas
    #[arg(long, conflicts_with_all = NOT_DESCRIBE)]
    at_min_isr_partitions: bool,
}

impl Filter {
    fn is_of_partitions(&self) -> bool {
        self.under_replicated_partitions
            || self.unavailable_partitions
            || self.under_min_isr_partitions
            || self.at_min_isr_partitions
    }

    fn takes(&self, partition: &PartitionDescription, min_in_sync: usize) -> bool {
        let in_sync = partition.isr.len();
        if self.under_replicated_partitions {
            in_sync < partition.replicas.len()
        } else if self.unavailable_partitions {
            partition.leader.is_none()
        } else if self.under_min_isr_partitions {
            in_sync < min_in_sync
        } else if self.at_min_isr_partitions {
            in_sync == min_in_sync
        } else {
            true
        }
    }
}

pub(super) fn run(topics: &[Topic], filter: &Filter, output: &mut Output) -> Result<(), Failure> {
    for topic in topics {
        let settings = topic.describe_config()?;
        let value = |name| settings.iter().find(|s| s.name == name)?.value.as_deref();
        let min_in_sync = value("min.insync.replicas").and_then(|v| v.parse().ok()).unwrap_or(1);
        let overrides = settings.iter().filter(|s| s.source != ConfigSource::Default);
        let overrides =
            overrides.map(|s| format!("{}={}", s.name, s.value.as_deref().unwrap_or("")));
        let overrides = overrides.collect::<Vec<_>>().join(",");
        let partitions = topic.partitions();
        let partitions = partitions.iter().map(|p| p.describe()).collect::<Result<Vec<_>, _>>()?;
        let is_left_out = filter.topics_with_overrides && overrides.is_empty();
        if !(filter.is_of_partitions() || is_left_out) {
            output.line(format_args!(
                "Topic: {topic}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {}\tConfigs: {overrides}",
                topic.id(),
                partitions.len(),
                partitions.first().map_or(0, |first| first.replicas.len()),
            ))?;
        }
        if !filter.topics_with_overrides {
            for partition in partitions.iter().filter(|p| filter.takes(p, min_in_sync)) {
                print_partition(topic, partition, output)?;
            }
        }
    }
    Ok(())
}

fn print_partition(
    topic: &Topic,
    partition: &PartitionDescription,
    output: &mut Output,
) -> Result<(), Failure> {
    let ids = |brokers: &[BrokerId]| {
        brokers.iter().map(BrokerId::to_string).collect::<Vec<_>>().join(",")
    };
    let leader = partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
    Ok(output.line(format_args!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}\tElr: N/A\tLastKnownElr: N/A",
        partition.id,
        ids(&partition.replicas),
        ids(&partition.isr),
    ))?)
}
