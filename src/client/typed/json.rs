//! JSON, by way of `serde`.

use std::borrow::Cow;
use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::typed::{Deserializer, Serializer};

/// Keys or values as JSON (feature `serde`). JSON's `null` is Kafka's null: `None` makes a tombstone.
///
/// ```
/// use brooklet::{Cluster, Json, NewTopic};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order {
///     item: String,
///     quantity: u32,
/// }
///
/// let cluster = Cluster::in_memory()?;
/// let orders = cluster.create_topic(NewTopic::new("orders"))?.typed::<String, Order>().values(Json);
/// let order = Order { item: "cup".into(), quantity: 2 };
/// let record = orders.record("ann", &order)?;
/// assert_eq!(record.value.as_deref(), Some(&br#"{"item":"cup","quantity":2}"#[..]));
/// # Ok::<(), brooklet::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub struct Json;

impl<T: Serialize + ?Sized> Serializer<T> for Json {
    fn serialize<'a>(
        &self,
        value: &'a T,
    ) -> Result<Option<Cow<'a, [u8]>>, Box<dyn Error + Send + Sync>> {
        let bytes = serde_json::to_vec(value)?;
        Ok((bytes != b"null").then_some(bytes.into()))
    }
}

impl<T: DeserializeOwned> Deserializer<T> for Json {
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, Box<dyn Error + Send + Sync>> {
        Ok(serde_json::from_slice(bytes.unwrap_or(b"null"))?)
    }
}
