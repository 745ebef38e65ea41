//! `brooklet topics`: Kafka's `kafka-topics`.

mod describe;

use std::path::PathBuf;
use std::process::ExitCode;

use brooklet::{Cluster, ErrorKind, NewTopic, Topic, TopicName};
use clap::Args;
use regex_lite::Regex;

use super::output::{Failure, Output};

/// The other actions. That an option requires its action would not do: with another one, that is not required.
const NOT_CREATE: [&str; 4] = ["alter", "delete", "describe", "list"];
const NOT_DESCRIBE: [&str; 4] = ["alter", "create", "delete", "list"];

/// Create, list, describe, alter and delete the topics of a store
///
/// The store must not be open in another process. Only --create makes one where there is none.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    action: Action,

    /// The directory of the store
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The topic. For all actions but --create it is a regular expression for the whole name, or several separated by
    /// commas: beware that '.' matches any character
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,

    /// The topic to describe, by its id
    #[arg(long, value_name = "ID", conflicts_with_all = NOT_DESCRIBE)]
    topic_id: Option<String>,

    /// How many partitions the topic is to have. With --alter it can only get more
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["delete", "describe", "list"])]
    partitions: Option<u32>,

    /// How many replicas each partition is to have: 1, since a store is one broker
    #[arg(long, value_name = "COUNT", conflicts_with_all = NOT_CREATE)]
    replication_factor: Option<u16>,

    /// A setting of the new topic; may be given several times
    #[arg(long, value_name = "NAME=VALUE", conflicts_with_all = NOT_CREATE, value_parser = setting)]
    config: Vec<(String, String)>,

    /// Do nothing if no topic is there, instead of failing
    #[arg(long, conflicts_with_all = ["create", "list"])]
    if_exists: bool,

    /// Do nothing if the topic is there, instead of failing
    #[arg(long, conflicts_with_all = NOT_CREATE)]
    if_not_exists: bool,

    /// Leave out topics of the cluster itself, whose names begin with "__"
    #[arg(long, conflicts_with_all = ["alter", "create", "delete"])]
    exclude_internal: bool,

    #[command(flatten)]
    filter: describe::Filter,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Action {
    /// Create a topic
    #[arg(long, requires = "topic")]
    create: bool,

    /// Print the names of topics
    #[arg(long)]
    list: bool,

    /// Print what topics are made of, and their partitions
    #[arg(long)]
    describe: bool,

    /// Give topics more partitions
    #[arg(long, requires_all = ["topic", "partitions"])]
    alter: bool,

    /// Delete topics and their records
    #[arg(long, requires = "topic")]
    delete: bool,
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it is not of the form NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(super) fn run(options: &Options, output: &mut Output) -> Result<ExitCode, Failure> {
    match act(options, output) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failure::Message(message)) => {
            let message = format!("Error while executing topic command : {message}");
            Err(Failure::Message(message))
        }
        Err(failure) => Err(failure),
    }
}

fn act(options: &Options, output: &mut Output) -> Result<(), Failure> {
    let action = &options.action;
    let cluster = Cluster::builder().create_if_missing(action.create).open_at(&options.data)?;
    if action.create {
        create(&cluster, options, output)?;
    } else if action.list {
        for topic in selected(&cluster, options)? {
            output.line(topic.name())?;
        }
    } else if action.describe {
        describe::run(&selected_to_describe(&cluster, options)?, &options.filter, output)?;
    } else if action.alter {
        for topic in required(&cluster, options)? {
            topic.increase_partitions_to(options.partitions.unwrap_or_default())?;
        }
    } else {
        for topic in required(&cluster, options)? {
            cluster.delete_topic(topic.name().as_str())?;
        }
    }
    Ok(cluster.close()?)
}

fn create(cluster: &Cluster, options: &Options, output: &mut Output) -> Result<(), Failure> {
    let name = options.topic.as_deref().unwrap_or_default();
    if name.contains(['.', '_']) {
        output.line(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore \
             ('_') could collide. To avoid issues it is best to use either, but not both.",
        )?;
    }
    let mut topic = NewTopic::new(name);
    if let Some(partitions) = options.partitions {
        topic = topic.partitions(partitions);
    }
    if let Some(replicas) = options.replication_factor {
        topic = topic.replication_factor(replicas);
    }
    for (name, value) in &options.config {
        topic = topic.config(name, value);
    }
    match cluster.create_topic(topic) {
        Err(error) if options.if_not_exists && error.kind() == ErrorKind::TopicAlreadyExists => {
            Ok(())
        }
        created => Ok(output.line(format_args!("Created topic {}.", created?.name()))?),
    }
}

/// The topics that are asked for, by name.
fn selected(cluster: &Cluster, options: &Options) -> Result<Vec<Topic>, Failure> {
    let pattern = options.topic.as_deref().map(pattern).transpose()?;
    let is_selected = |name: &TopicName| {
        let matches = pattern.as_ref().is_none_or(|pattern| pattern.is_match(name.as_str()));
        matches && !(options.exclude_internal && name.is_internal())
    };
    let names = cluster.topics()?.into_iter().filter(is_selected);
    names.map(|name| Ok(cluster.topic(name.as_str())?)).collect()
}

/// As [`selected`]; none is an error, unless that was foreseen.
fn required(cluster: &Cluster, options: &Options) -> Result<Vec<Topic>, Failure> {
    let topics = selected(cluster, options)?;
    match &options.topic {
        Some(name) if topics.is_empty() && !options.if_exists => {
            Err(Failure::Message(format!("Topic '{name}' does not exist as expected")))
        }
        _ => Ok(topics),
    }
}

fn selected_to_describe(cluster: &Cluster, options: &Options) -> Result<Vec<Topic>, Failure> {
    let Some(id) = &options.topic_id else { return required(cluster, options) };
    let mut topics = Vec::new();
    for name in cluster.topics()? {
        let topic = cluster.topic(name.as_str())?;
        if topic.id().to_string() == *id {
            topics.push(topic);
        }
    }
    if topics.is_empty() && !options.if_exists {
        return Err(Failure::Message(format!("TopicId '{id}' does not exist as expected")));
    }
    Ok(topics)
}

/// Kafka's way to read what is asked for: several expressions may be separated by commas, spaces and quotes are left
/// out, and the whole name has to match.
fn pattern(text: &str) -> Result<Regex, Failure> {
    let text = text.trim().replace(',', "|").replace(' ', "");
    let text = text.trim_matches(['"', '\'']);
    Regex::new(&format!("^(?:{text})$"))
        .map_err(|error| Failure::Message(format!("{text} is an invalid regex: {error}")))
}
