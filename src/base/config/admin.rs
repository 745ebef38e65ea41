//! The settings of admin clients. There is none here: administration is calls of the cluster's own methods.

use super::definition::{Definition, int, int_ms, ms, text};

const NO_REQUESTS: &str = "A call ends when it is done, or has failed.";

pub(super) const TABLE: &[Definition] = &[
    text("client.id", "", "A name that tells clients apart.").no_meaning(),
    int_ms("default.api.timeout.ms", "60000", 0, NO_REQUESTS).no_meaning(),
    ms("metadata.max.age.ms", "300000", 0, "Metadata is shared memory, and never old.")
        .no_meaning(),
    int_ms("request.timeout.ms", "30000", 0, NO_REQUESTS).no_meaning(),
    int("retries", "2147483647", 0, NO_REQUESTS).no_meaning(),
    ms("retry.backoff.max.ms", "1000", 0, NO_REQUESTS).no_meaning(),
    ms("retry.backoff.ms", "100", 0, NO_REQUESTS).no_meaning(),
];
