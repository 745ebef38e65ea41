//! The sticky assignor for members that keep what they have while the group decides anew.

use super::{Assignor, GroupAssignment, GroupSpec, StickyAssignor};

/// As [`StickyAssignor`], but members of the classic protocol give up only what goes to others (KIP-429). The group
/// holds back what is to move until its owner has given it up.
#[derive(Clone, Copy, Debug, Default)]
pub struct CooperativeStickyAssignor;

impl Assignor for CooperativeStickyAssignor {
    fn name(&self) -> &str {
        "cooperative-sticky"
    }

    fn is_cooperative(&self) -> bool {
        true
    }

    fn assign(&self, group: &GroupSpec) -> GroupAssignment {
        StickyAssignor.assign(group)
    }
}
