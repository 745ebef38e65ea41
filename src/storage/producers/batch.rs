//! A batch as its producer's state sees it.

use crate::base::{Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::record::{Batch, BatchHeader, ControlRecord, TransactionMarker};

/// Who hands a batch to a leader's log, and so what is checked of it. What a follower copies, and what a log reads of
/// itself, was accepted once and is not judged again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AppendOrigin {
    /// A producer: everything is checked.
    Client,
    /// A coordinator, which writes markers, and offsets in the name of a transaction's producer: its sequences mean
    /// nothing.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the coordinators to come"))]
    Coordinator,
}

/// What one batch says of its producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProducerBatch {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
    pub(super) first: Offset,
    pub(super) last: Offset,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) content: Content,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Data { sequences: Option<Sequences>, transactional: bool },
    Marker(TransactionMarker),
}

/// The sequence numbers of a batch's first and last offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sequences {
    pub(super) first: i32,
    pub(super) last: i32,
}

impl ProducerBatch {
    /// What a batch that was accepted says of its producer. A control record that makes no sense says nothing.
    pub(crate) fn of_accepted(batch: &Batch) -> Option<Self> {
        let base = batch.header().base_offset();
        let control = batch.control_record().unwrap_or_else(|error| {
            log::warn!("the control batch at {base} says nothing: {error}");
            None
        });
        Self::of(batch.header(), base, control)
    }

    /// The same, of a batch that is given this timestamp.
    pub(crate) fn with_timestamp(self, timestamp: Option<Timestamp>) -> Self {
        Self { timestamp, ..self }
    }

    /// What the batch of `header`, which begins at `base` and holds the record `control` if it is a control batch, says
    /// of its producer; `None` if that is nothing.
    #[inline]
    pub(crate) fn of(
        header: &BatchHeader,
        base: Offset,
        control: Option<ControlRecord>,
    ) -> Option<Self> {
        let producer = header.producer()?;
        let content = if header.is_control() {
            let Some(ControlRecord::Marker(marker)) = control else { return None };
            Content::Marker(marker)
        } else {
            let sequences = producer.base_sequence.zip(header.last_sequence());
            Content::Data {
                sequences: sequences.map(|(first, last)| Sequences { first, last }),
                transactional: header.is_transactional(),
            }
        };
        Some(Self {
            id: producer.id,
            epoch: producer.epoch,
            first: base,
            last: base.checked_add(header.last_offset_delta()).unwrap_or(Offset::MAX),
            timestamp: header.max_timestamp(),
            content,
        })
    }
}
