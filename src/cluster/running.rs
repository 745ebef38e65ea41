//! A cluster that runs for as long as an application has to do with it.

use std::ops::Deref;
use std::sync::Arc;

use crate::cluster::Core;

/// What handles share: the cluster is closed with the last of them, on its thread. What is at work for it in the
/// background holds on to the [`Core`] alone, and keeps nothing open.
#[derive(Debug)]
pub(crate) struct Running(Arc<Core>);

impl Running {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self(core)
    }
}

impl Deref for Running {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.close_unless_closed();
    }
}
