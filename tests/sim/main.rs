//! Clusters on disks that lose power and fail: every moment of a scenario, and seeds.
//!
//! Each suite prints a line of figures that begins with `RELIABILITY`. `RELIABILITY_SEEDS=A..B` chooses the seeds and
//! `RELIABILITY_FULL=1` tries much more.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a test fails by panicking, reports its figures, and keeps them behind real locks"
)]

mod bit_flips;
mod brokers;
mod crash_states;
mod crash_states_of_three;
mod failing_disks;
mod full_disk;
mod groups;
mod groups_member;
mod groups_plan;
mod histories;
mod io_errors;
mod members;
mod metadata_rot;
mod power;
mod races;
mod races_of_groups;
mod replica_bit_flips;
mod replication;
mod replication_plan;
mod report;
mod scenarios;
mod scrubs;
mod world;
