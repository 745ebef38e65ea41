//! The position of a record in its partition.

use std::fmt;

/// Position of a record in its partition: counts up from 0 (the default), with gaps after compaction.
///
/// ```
/// use brooklet::Offset;
///
/// let kept_in_a_database = 41_i64;
/// let offset = Offset::try_from(kept_in_a_database)?;
/// assert_eq!(offset.next(), Offset::from(42));
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of a new partition.
    pub const ZERO: Self = Self(0);

    /// The largest offset there is.
    pub const MAX: Self = Self(i64::MAX);

    /// `None` if `value` is negative.
    pub const fn new(value: i64) -> Option<Self> {
        if value >= 0 { Some(Self(value)) } else { None }
    }

    /// The number itself, never negative.
    pub const fn value(self) -> i64 {
        self.0
    }

    /// The offset `count` records further on, or `None` past [`Offset::MAX`].
    pub const fn checked_add(self, count: u32) -> Option<Self> {
        // A `u32` always fits an `i64`.
        match self.0.checked_add(count as i64) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The offset after this one. Stays at [`Offset::MAX`], where no record can be.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Number of offsets in `earlier..self`, or `None` if `earlier` comes after `self`.
    pub fn distance_from(self, earlier: Self) -> Option<u64> {
        u64::try_from(self.0.checked_sub(earlier.0)?).ok()
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `Offset::from(7)`: offsets written down as literals.
impl From<u32> for Offset {
    fn from(value: u32) -> Self {
        Self(i64::from(value))
    }
}

/// For offsets that were kept elsewhere. The error is that it is negative.
impl TryFrom<i64> for Offset {
    type Error = std::num::TryFromIntError;

    fn try_from(value: i64) -> Result<Self, Self::Error> {
        u64::try_from(value).map(|_| Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_the_offsets_between() {
        assert_eq!(Offset::from(7).distance_from(Offset::from(3)), Some(4));
        assert_eq!(Offset::from(3).distance_from(Offset::from(7)), None);
    }

    #[test]
    fn adding_past_the_end_is_none() {
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert_eq!(Offset::ZERO.checked_add(3), Some(Offset::from(3)));
    }
}
