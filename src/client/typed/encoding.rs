//! How values become bytes, and bytes values.

use std::borrow::Cow;
use std::error::Error;

use bytes::Bytes;

/// Turns keys or values of type `T` into bytes (Kafka's `Serializer`).
///
/// It sees the value alone. What depends on the topic is told to the serializer when it is made; what belongs into
/// headers is the business of whoever builds the record, or of a [`ProducerInterceptor`](crate::ProducerInterceptor).
///
/// ```
/// use std::borrow::Cow;
/// use std::error::Error;
/// use brooklet::Serializer;
///
/// /// Degrees, as hundredths in text.
/// struct Centi;
///
/// impl Serializer<f64> for Centi {
///     fn serialize<'a>(&self, degrees: &'a f64) -> Result<Option<Cow<'a, [u8]>>, Box<dyn Error + Send + Sync>> {
///         if !degrees.is_finite() {
///             return Err(format!("{degrees} is no temperature").into());
///         }
///         Ok(Some(format!("{:.0}", degrees * 100.0).into_bytes().into()))
///     }
/// }
///
/// assert_eq!(Centi.serialize(&21.5).unwrap().as_deref(), Some(&b"2150"[..]));
/// assert!(Centi.serialize(&f64::NAN).is_err());
/// ```
pub trait Serializer<T: ?Sized> {
    /// The bytes of `value`, its own where it has them. `None` is null, which is not the same as empty: a null value
    /// deletes its key in a compacted topic.
    ///
    /// # Errors
    /// The value cannot be written. Nothing is sent then.
    fn serialize<'a>(
        &self,
        value: &'a T,
    ) -> Result<Option<Cow<'a, [u8]>>, Box<dyn Error + Send + Sync>>;
}

/// Turns bytes into keys or values of type `T` (Kafka's `Deserializer`).
///
/// ```
/// use std::error::Error;
/// use brooklet::Deserializer;
///
/// /// Degrees, as hundredths in text.
/// struct Centi;
///
/// impl Deserializer<f64> for Centi {
///     fn deserialize(&self, bytes: Option<&[u8]>) -> Result<f64, Box<dyn Error + Send + Sync>> {
///         let text = str::from_utf8(bytes.ok_or("no temperature")?)?;
///         Ok(text.parse::<f64>()? / 100.0)
///     }
/// }
///
/// assert_eq!(Centi.deserialize(Some(b"2150")).unwrap(), 21.5);
/// assert!(Centi.deserialize(Some(b"warm")).is_err());
/// ```
pub trait Deserializer<T> {
    /// The value that `bytes` stand for; `None` is null.
    ///
    /// # Errors
    /// They stand for none. The application gets the record as it is, in a [`DecodeError`](crate::DecodeError).
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<T, Box<dyn Error + Send + Sync>>;
}

/// The encodings of Kafka's own serializers, by type. What a [typed topic](crate::Topic::typed) uses unless it is told
/// otherwise.
///
/// | type | bytes | in Kafka |
/// |---|---|---|
/// | `String`, `str` | UTF-8; bytes that are not are an error, where Kafka replaces them | `StringSerializer` |
/// | `Vec<u8>`, `[u8]`, [`Bytes`] | as they are | `ByteArraySerializer`, `BytesSerializer` |
/// | `[u8; N]` | as they are, exactly `N` | none: its `UUIDSerializer` writes 36 characters, as `String` does |
/// | `i16`, `i32`, `i64` | 2, 4, 8 bytes, big-endian | `ShortSerializer`, `IntegerSerializer`, `LongSerializer` |
/// | `u16`, `u32`, `u64` | the same, unsigned | as above, where they would be read as signed |
/// | `f32`, `f64` | 4, 8 bytes, big-endian | `FloatSerializer`, `DoubleSerializer` |
/// | `bool` | one byte, 0 or 1 | `BooleanSerializer` |
/// | `()` | null | `VoidSerializer` |
/// | `Option<T>` | null for `None` | null |
///
/// ```
/// use brooklet::{Deserializer, Plain, Serializer};
///
/// assert_eq!(Plain.serialize(&7i32).unwrap().as_deref(), Some(&[0, 0, 0, 7][..]));
/// assert_eq!(Plain.serialize(&None::<i32>).unwrap(), None);
/// assert_eq!(Plain.deserialize(Some(b"ann")).ok(), Some("ann".to_owned()));
/// assert!(Deserializer::<i32>::deserialize(&Plain, Some(b"ann")).is_err(), "three bytes are no i32");
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Plain;

/// What most encodings have no bytes for.
fn not_null(bytes: Option<&[u8]>) -> Result<&[u8], Box<dyn Error + Send + Sync>> {
    bytes.ok_or_else(|| "it is null".into())
}

fn exactly<const N: usize>(bytes: Option<&[u8]>) -> Result<[u8; N], Box<dyn Error + Send + Sync>> {
    let bytes = not_null(bytes)?;
    bytes.try_into().map_err(|_| format!("it has {} bytes, not {N}", bytes.len()).into())
}

macro_rules! as_bytes {
    ($($type:ty)*) => {
        $(impl Serializer<$type> for Plain {
            fn serialize<'a>(
                &self,
                value: &'a $type,
            ) -> Result<Option<Cow<'a, [u8]>>, Box<dyn Error + Send + Sync>> {
                let bytes: &[u8] = value.as_ref();
                Ok(Some(bytes.into()))
            }
        })*
    };
}
as_bytes!(str String [u8] Vec<u8> Bytes);

macro_rules! big_endian {
    ($($type:ty)*) => {
        $(impl Serializer<$type> for Plain {
            fn serialize<'a>(
                &self,
                value: &'a $type,
            ) -> Result<Option<Cow<'a, [u8]>>, Box<dyn Error + Send + Sync>> {
                Ok(Some(value.to_be_bytes().to_vec().into()))
            }
        }

        impl Deserializer<$type> for Plain {
            fn deserialize(
                &self,
                bytes: Option<&[u8]>,
            ) -> Result<$type, Box<dyn Error + Send + Sync>> {
                exactly(bytes).map(<$type>::from_be_bytes)
            }
        })*
    };
}
big_endian!(i16 i32 i64 u16 u32 u64 f32 f64);

impl<const N: usize> Serializer<[u8; N]> for Plain {
    fn serialize<'a>(
        &self,
        value: &'a [u8; N],
    ) -> Result<Option<Cow<'a, [u8]>>, Box<dyn Error + Send + Sync>> {
        Ok(Some(value.into()))
    }
}

impl Serializer<bool> for Plain {
    fn serialize<'a>(
        &self,
        value: &'a bool,
    ) -> Result<Option<Cow<'a, [u8]>>, Box<dyn Error + Send + Sync>> {
        Ok(Some(if *value { &[1][..] } else { &[0] }.into()))
    }
}

impl Serializer<()> for Plain {
    fn serialize<'a>(
        &self,
        (): &'a (),
    ) -> Result<Option<Cow<'a, [u8]>>, Box<dyn Error + Send + Sync>> {
        Ok(None)
    }
}

impl<T> Serializer<Option<T>> for Plain
where
    Self: Serializer<T>,
{
    fn serialize<'a>(
        &self,
        value: &'a Option<T>,
    ) -> Result<Option<Cow<'a, [u8]>>, Box<dyn Error + Send + Sync>> {
        value.as_ref().map_or(Ok(None), |value| self.serialize(value))
    }
}

impl Deserializer<String> for Plain {
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<String, Box<dyn Error + Send + Sync>> {
        Ok(str::from_utf8(not_null(bytes)?)?.to_owned())
    }
}

impl Deserializer<Vec<u8>> for Plain {
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        not_null(bytes).map(<[u8]>::to_vec)
    }
}

impl Deserializer<Bytes> for Plain {
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
        not_null(bytes).map(Bytes::copy_from_slice)
    }
}

impl<const N: usize> Deserializer<[u8; N]> for Plain {
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<[u8; N], Box<dyn Error + Send + Sync>> {
        exactly(bytes)
    }
}

impl Deserializer<bool> for Plain {
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<bool, Box<dyn Error + Send + Sync>> {
        match exactly(bytes)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("it is the byte {other}, neither 0 nor 1").into()),
        }
    }
}

impl Deserializer<()> for Plain {
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<(), Box<dyn Error + Send + Sync>> {
        match bytes {
            None => Ok(()),
            Some(bytes) => Err(format!("it has {} bytes, and should be null", bytes.len()).into()),
        }
    }
}

impl<T> Deserializer<Option<T>> for Plain
where
    Self: Deserializer<T>,
{
    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Option<T>, Box<dyn Error + Send + Sync>> {
        bytes.map(|_| self.deserialize(bytes)).transpose()
    }
}
