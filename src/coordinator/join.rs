//! What somebody who wants to be in a group says of itself.

use std::time::Duration;

use crate::coordinator::config::GroupConfig;
use crate::coordinator::error::GroupError;
use crate::coordinator::group::{GroupProtocol, JoinRequest};
use crate::coordinator::ids::{InstanceId, ShortText};
use crate::coordinator::subscription::Subscription;

/// Somebody who wants to be in a group.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) protocol: GroupProtocol,
    pub(crate) subscription: Subscription,
    /// Patterns are for the cluster's own topics too.
    pub(crate) with_internal: bool,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) rack: Option<String>,
    /// By name, the preferred first.
    pub(crate) assignors: Vec<String>,
    pub(crate) max_poll_interval: Duration,
    pub(crate) session_timeout: Duration,
}

impl Join {
    /// The same, checked.
    pub(super) fn request(&self, config: &GroupConfig) -> Result<JoinRequest, GroupError> {
        let too_long = |setting, text: &str| GroupError::TooLong { setting, size: text.len() };
        let text = |setting, text: &String| {
            ShortText::new(text).ok_or_else(|| too_long(setting, text.as_str()))
        };
        let instance = self.instance_id.as_ref().filter(|id| !id.is_empty());
        let instance =
            instance.map(|id| InstanceId::new(id).ok_or_else(|| too_long("group.instance.id", id)));
        let assignors = match self.protocol {
            GroupProtocol::Consumer => "group.remote.assignor",
            GroupProtocol::Classic => "partition.assignment.strategy",
        };
        let assignors = self.assignors.iter().map(|name| text(assignors, name));
        Ok(JoinRequest {
            protocol: self.protocol,
            subscribed: self.subscription.check(self.with_internal)?,
            instance: instance.transpose()?,
            client_id: text("client.id", &self.client_id)?,
            rack: self.rack.as_ref().map(|rack| text("client.rack", rack)).transpose()?,
            assignors: assignors.collect::<Result<_, _>>()?,
            max_poll_interval: self.max_poll_interval,
            session_timeout: match self.protocol {
                GroupProtocol::Consumer => config.consumer_session_timeout,
                GroupProtocol::Classic => self.session_timeout,
            },
        })
    }
}
