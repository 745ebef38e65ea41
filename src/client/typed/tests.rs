//! Encodings, byte by byte.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Deserializer, Plain, Serializer};

fn written<T: ?Sized>(value: &T) -> Option<Vec<u8>>
where
    Plain: Serializer<T>,
{
    Plain.serialize(value).unwrap().map(std::borrow::Cow::into_owned)
}

fn read<T>(bytes: Option<&[u8]>) -> Result<T, String>
where
    Plain: Deserializer<T>,
{
    Plain.deserialize(bytes).map_err(|error| error.to_string())
}

#[track_caller]
fn returns<T: PartialEq + Debug>(value: T)
where
    Plain: Serializer<T> + Deserializer<T>,
{
    assert_eq!(read(written(&value).as_deref()), Ok(value));
}

#[test]
fn the_bytes_are_those_of_kafkas_serializers() {
    assert_eq!(written(&0x0102i16).unwrap(), [1, 2]);
    assert_eq!(written(&7i32).unwrap(), [0, 0, 0, 7]);
    assert_eq!(written(&-2i64).unwrap(), [255, 255, 255, 255, 255, 255, 255, 254]);
    assert_eq!(written(&u32::MAX).unwrap(), [255; 4]);
    assert_eq!(written(&1.5f32).unwrap(), [0x3f, 0xc0, 0, 0]);
    assert_eq!(written(&-0.5f64).unwrap(), [0xbf, 0xe0, 0, 0, 0, 0, 0, 0]);
    assert_eq!([written(&false), written(&true)], [Some(vec![0]), Some(vec![1])]);
    assert_eq!(written("naïve").unwrap(), [b'n', b'a', 0xc3, 0xaf, b'v', b'e']);
    assert_eq!(written(&[7; 16]).unwrap(), [7; 16]);
    assert_eq!([written(""), written(&[0; 0])], [Some(Vec::new()), Some(Vec::new())]);
    assert_eq!([written(&()), written(&None::<i32>), written(&Some(()))], [None, None, None]);
}

#[test]
fn what_cannot_be_read_is_an_error() {
    assert_eq!(read::<i32>(Some(&[0; 3])), Err("it has 3 bytes, not 4".into()));
    assert_eq!(read::<i64>(Some(&[0; 9])), Err("it has 9 bytes, not 8".into()));
    assert_eq!(read::<[u8; 16]>(Some(b"")), Err("it has 0 bytes, not 16".into()));
    assert_eq!(read::<String>(None), Err("it is null".into()));
    assert!(read::<String>(Some(&[0xff])).is_err());
    assert_eq!(read::<bool>(Some(&[2])), Err("it is the byte 2, neither 0 nor 1".into()));
    assert_eq!(read::<()>(Some(b"")), Err("it has 0 bytes, and should be null".into()));
    assert_eq!(read::<Option<i32>>(Some(&[0; 3])), Err("it has 3 bytes, not 4".into()));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        number in any::<i64>(),
        float in any::<f64>().prop_filter("equal to itself", |float| !float.is_nan()),
        text in ".{0,20}",
        bytes in any::<Option<Vec<u8>>>(),
        id in any::<[u8; 16]>(),
        flag in any::<bool>(),
    ) {
        returns(number);
        returns(number.cast_unsigned());
        returns(float);
        returns(text.clone());
        returns(Some(text));
        returns(Bytes::from(bytes.clone().unwrap_or_default()));
        returns(bytes);
        returns(id);
        returns(flag);
        returns(());
    }

    /// No bytes make a deserializer panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Option<Vec<u8>>>()) {
        let bytes = bytes.as_deref();
        let length = bytes.map(<[u8]>::len);
        prop_assert_eq!(read::<i16>(bytes).is_ok(), length == Some(2));
        prop_assert_eq!(read::<f32>(bytes).is_ok(), length == Some(4));
        prop_assert_eq!(read::<Vec<u8>>(bytes).ok(), bytes.map(<[u8]>::to_vec));
        prop_assert_eq!(read::<()>(bytes).is_ok(), bytes.is_none());
        let _ = (read::<String>(bytes), read::<bool>(bytes));
    }
}
