//! `docs/configuration.md` is made of the tables. To write it anew: `BROOKLET_WRITE_DOCS=1 cargo test configuration_md`.

use std::fmt::Write;

use super::Scope;
use super::definition::{Definition, Kind, Standing};
use super::find::NO_MEANING;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

#[test]
#[allow(clippy::disallowed_methods, reason = "the document is a file of the repository")]
fn configuration_md_says_what_the_tables_say() {
    let expected = document();
    if std::env::var_os("BROOKLET_WRITE_DOCS").is_some() {
        std::fs::write(PATH, &expected).unwrap();
    }
    let found = std::fs::read_to_string(PATH).unwrap_or_default().replace("\r\n", "\n");
    let different = found.lines().zip(expected.lines()).find(|(found, made)| found != made);
    assert!(
        found == expected,
        "docs/configuration.md is stale: run BROOKLET_WRITE_DOCS=1 cargo test configuration_md\n{different:?}"
    );
}

fn document() -> String {
    let mut text = include_str!("intro.md").to_owned();
    for (scope, title, about) in [
        (
            Scope::Topic,
            "Topics",
            "Set by `NewTopic::config` and `Topic::alter_config`. What a topic does not override is the \
             broker's, in the column *broker*; where several are named, the first that is set.",
        ),
        (
            Scope::Broker,
            "Broker",
            "Set by `ClusterBuilder`: `config`, `properties`, `properties_file`, `environment`, and typed setters.",
        ),
        (
            Scope::Producer,
            "Producer",
            "Set by `ProducerBuilder`: `config`, `properties`, `properties_file`, and typed setters.",
        ),
        (
            Scope::Consumer,
            "Consumer",
            "Set by `ConsumerBuilder`: `config`, `properties`, `properties_file`, and typed setters.",
        ),
        (
            Scope::Admin,
            "Admin client",
            "There is none: administration is calls of `Cluster`, `Topic` and `Partition`. Listed so that nobody looks \
             for them.",
        ),
    ] {
        let _ = write!(text, "\n## {title}\n\n{about}\n\n");
        table(&mut text, scope);
    }
    text += "\n## Names without meaning\n\nAccepted from brokers and clients alike, whatever their value; `*` stands for anything.\n\n";
    for pattern in NO_MEANING {
        let _ = writeln!(text, "- `{pattern}`");
    }
    text
}

fn table(text: &mut String, scope: Scope) {
    let of_topics = scope == Scope::Topic;
    let broker = if of_topics { " broker |" } else { "" };
    let rule = if of_topics { "---|" } else { "" };
    let _ = writeln!(text, "| name | type | default | values | standing |{broker} what it is |");
    let _ = writeln!(text, "|---|---|---|---|---|{rule}---|");
    let mut definitions = scope.definitions().collect::<Vec<_>>();
    definitions.sort_by_key(|definition| definition.name);
    for definition in definitions {
        let broker = definition.broker.iter().map(|(name, _)| format!("`{name}`"));
        let broker = broker.collect::<Vec<_>>().join(", ");
        let broker = if of_topics { format!(" {broker} |") } else { String::new() };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |{broker} {} |",
            definition.name,
            kind(definition),
            default(definition),
            definition.range(),
            standing(definition),
            meaning(definition),
        );
    }
}

fn kind(definition: &Definition) -> &'static str {
    match definition.kind {
        Kind::Bool => "bool",
        Kind::Number(_, max) if max <= i64::from(i32::MAX) => "int",
        Kind::Number(..) => "long",
        Kind::Millis(..) => "ms",
        Kind::Double(..) => "double",
        Kind::Text | Kind::Choice(_) => "string",
        Kind::List(_) => "list",
    }
}

fn default(definition: &Definition) -> String {
    let ours = definition.default.map_or("none".to_owned(), |default| format!("`{default}`"));
    match definition.kafka {
        Some(kafka) => format!("{ours} (Kafka: `{kafka}`)"),
        None => ours,
    }
}

fn standing(definition: &Definition) -> String {
    match definition.standing {
        Standing::InEffect => "in effect".to_owned(),
        Standing::NotYet => "not yet".to_owned(),
        Standing::NoMeaning => "no meaning".to_owned(),
        Standing::Refused(why) => format!("refused: {why}"),
    }
}

fn meaning(definition: &Definition) -> String {
    let aliases = definition.aliases.iter().map(|alias| format!("`{alias}`")).collect::<Vec<_>>();
    match aliases.is_empty() {
        true => definition.doc.to_owned(),
        false => format!("{} Also: {}.", definition.doc, aliases.join(", ")),
    }
}
