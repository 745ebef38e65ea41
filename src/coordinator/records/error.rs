//! Why bytes are no record.

/// Why bytes could not be read as a record of `__consumer_offsets`, or as what members of a group say.
///
/// Reading is pure: the same bytes fail again.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum RecordError {
    /// A field, or what a length or count declares, goes on after the last byte.
    #[error("the bytes end before the fields do")]
    Truncated,
    /// Bytes follow that belong to no field.
    #[error("{0} bytes are left over after the last field")]
    LeftOver(usize),
    /// No version that this crate knows; later ones of Kafka may write it.
    #[error("{what} has version {version}, which is unknown")]
    UnknownVersion { what: &'static str, version: i16 },
    /// A field has a value that no writer produces.
    #[error("{field} has a value that it cannot have")]
    InvalidField { field: &'static str },
}
