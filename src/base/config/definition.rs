//! What is known of one setting. The tables of this folder are made of these, and everything else is made of the
//! tables: parsing, checking, error messages, `docs/configuration.md`.

/// Whose settings they are. The same name may be known in several scopes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Scope {
    Topic,
    Broker,
    Producer,
    Consumer,
    Admin,
}

impl Scope {
    pub(super) const ALL: [Self; 5] =
        [Self::Topic, Self::Broker, Self::Producer, Self::Consumer, Self::Admin];

    /// Who has such settings.
    pub(super) fn owners(self) -> &'static str {
        match self {
            Self::Topic => "topics",
            Self::Broker => "brokers",
            Self::Producer => "producers",
            Self::Consumer => "consumers",
            Self::Admin => "admin clients",
        }
    }
}

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It is acted upon.
    InEffect,
    /// It is checked and kept. What it governs is not built.
    NotYet,
    /// It is checked and ignored: nothing inside of one process corresponds to it.
    NoMeaning,
    /// Only its default is accepted, for this reason.
    Refused(&'static str),
}

/// The values that a setting takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Bool,
    /// From the first to the second, both included.
    Number(i64, i64),
    /// Milliseconds, in the same form.
    Millis(i64, i64),
    Double(f64, f64),
    Text,
    /// One of these, whatever the case of its letters. One with a `:` stands for all that begin like it.
    Choice(&'static [&'static str]),
    /// Separated by commas; any if this is empty.
    List(&'static [&'static str]),
}

pub(super) const INT_MAX: i64 = i32::MAX as i64;
pub(super) const LONG_MAX: i64 = i64::MAX;

/// One setting.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(super) kind: Kind,
    /// A number outside of the range that is allowed as well.
    pub(super) also: Option<i64>,
    /// `None` for none, Kafka's null.
    pub(super) default: Option<&'static str>,
    /// Kafka's default, where it is another.
    pub(super) kafka: Option<&'static str>,
    pub(crate) standing: Standing,
    /// What it is called by mistake, by earlier releases, or by other clients.
    pub(super) aliases: &'static [&'static str],
    /// For a topic's setting: the broker's that it falls back on, the first that is set, and what to multiply by.
    pub(super) broker: &'static [(&'static str, i64)],
    pub(super) doc: &'static str,
}

impl Definition {
    const fn new(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        let default = if default.is_empty() { None } else { Some(default) };
        Self {
            name,
            kind,
            also: None,
            default,
            kafka: None,
            standing: Standing::InEffect,
            aliases: &[],
            broker: &[],
            doc,
        }
    }

    pub(super) const fn or(mut self, number: i64) -> Self {
        self.also = Some(number);
        self
    }

    pub(super) const fn kafka(mut self, default: &'static str) -> Self {
        self.kafka = Some(default);
        self
    }

    pub(super) const fn not_yet(mut self) -> Self {
        self.standing = Standing::NotYet;
        self
    }

    pub(super) const fn no_meaning(mut self) -> Self {
        self.standing = Standing::NoMeaning;
        self
    }

    pub(super) const fn refused(mut self, why: &'static str) -> Self {
        self.standing = Standing::Refused(why);
        self
    }

    pub(super) const fn aliases(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }

    pub(super) const fn broker(mut self, names: &'static [(&'static str, i64)]) -> Self {
        self.broker = names;
        self
    }
}

pub(super) const fn bool(
    name: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::Bool, default, doc)
}

/// A number of at least `min`, of 32 bits.
pub(super) const fn int(
    name: &'static str,
    default: &'static str,
    min: i64,
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::Number(min, INT_MAX), default, doc)
}

/// A number of at least `min`, of 64 bits.
pub(super) const fn long(
    name: &'static str,
    default: &'static str,
    min: i64,
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::Number(min, LONG_MAX), default, doc)
}

pub(super) const fn range(
    name: &'static str,
    default: &'static str,
    (min, max): (i64, i64),
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::Number(min, max), default, doc)
}

/// A time of at least `min` milliseconds, which Kafka keeps in 32 bits.
pub(super) const fn int_ms(
    name: &'static str,
    default: &'static str,
    min: i64,
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::Millis(min, INT_MAX), default, doc)
}

/// A time of at least `min` milliseconds, which Kafka keeps in 64 bits.
pub(super) const fn ms(
    name: &'static str,
    default: &'static str,
    min: i64,
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::Millis(min, LONG_MAX), default, doc)
}

pub(super) const fn double(
    name: &'static str,
    default: &'static str,
    (min, max): (f64, f64),
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::Double(min, max), default, doc)
}

pub(super) const fn text(
    name: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::Text, default, doc)
}

pub(super) const fn choice(
    name: &'static str,
    default: &'static str,
    values: &'static [&'static str],
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::Choice(values), default, doc)
}

pub(super) const fn list(
    name: &'static str,
    default: &'static str,
    values: &'static [&'static str],
    doc: &'static str,
) -> Definition {
    Definition::new(name, Kind::List(values), default, doc)
}
