//! Reading JSON as Go's `encoding/json` does, because that is what the original's clients rely on:
//! member names in any letter case, `null` anywhere, unknown members skipped. Errors carry the path to the value.

mod walk;

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::ser::PrettyFormatter;

pub(crate) use walk::Walk;

/// Parses a whole JSON document.
///
/// # Errors
/// Syntax errors and wrong types, with the path to the value and its position.
pub fn from_slice<'de, T: Deserialize<'de> + Default>(json: &'de [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<Option<T>>(json).map(Option::unwrap_or_default)
}

/// JSON indented by one space, as the original's answers.
///
/// # Errors
/// The value cannot be written as JSON, as a map whose keys are no strings.
pub fn to_text(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut out = Vec::with_capacity(256);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b" ")))?;
    String::from_utf8(out).map_err(serde::ser::Error::custom)
}

/// `inner` with the place it happened put in front.
pub(crate) fn at<E: Error>(place: impl fmt::Display, inner: &E) -> E {
    E::custom(format_args!("{place}: {inner}"))
}

/// At most the first 64 characters of a value, for error texts.
pub fn shorten(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(64) {
        Some((end, _)) => Cow::Owned(format!("{}…", &value[..end])),
        None => Cow::Borrowed(value),
    }
}

/// A string that borrows from the input where it can (it has no escapes).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(v)))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// What an error of [`from_slice`] says. It may quote a value of any length: the middle of a long text is left out.
pub fn error_text(error: &serde_json::Error) -> String {
    const HEAD_BYTES: usize = 512;
    const TAIL_BYTES: usize = 128;
    let text = error.to_string();
    if text.len() <= HEAD_BYTES + TAIL_BYTES {
        return text;
    }
    let (head, tail) = (text.floor_char_boundary(HEAD_BYTES), text.ceil_char_boundary(text.len() - TAIL_BYTES));
    format!("{}…{}", &text[..head], &text[tail..])
}

/// A list that may hold nulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NullableList<T>(pub(crate) Vec<Option<T>>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for NullableList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = NullableList<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                for index in 0.. {
                    match seq.next_element::<Option<T>>() {
                        Ok(Some(item)) => items.push(item),
                        Ok(None) => break,
                        Err(e) => return Err(at(format_args!("[{index}]"), &e)),
                    }
                }
                Ok(NullableList(items))
            }
        }
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

/// A list that may be `null` and may hold nulls, which are skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let NullableList(items) = NullableList::deserialize(deserializer)?;
        Ok(List(items.into_iter().flatten().collect()))
    }
}

/// A map whose nulls read as the value's default, as in Go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map<V>(pub(crate) BTreeMap<String, V>);

impl<V> Default for Map<V> {
    fn default() -> Self {
        Map(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de> + Default> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de> + Default> Visitor<'de> for MapVisitor<V> {
            type Value = Map<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value = map.next_value::<Option<V>>().map_err(|e| at(&key, &e))?;
                    entries.insert(key, value.unwrap_or_default());
                }
                Ok(Map(entries))
            }
        }
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

/// Implements `Deserialize` for a `Default` type from the members of a JSON object.
///
/// Each line says what to do with one member; letter case is ignored, nulls leave the default, the rest is skipped.
macro_rules! from_members {
    (<$de:lifetime> $ty:ty { $($wire:literal => |$out:ident, $value:ident : $read:ty| $set:expr;)* }) => {
        impl<$de> serde::Deserialize<$de> for $ty {
            fn deserialize<D: serde::Deserializer<$de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;
                impl<$de> serde::de::Visitor<$de> for Members {
                    type Value = $ty;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a JSON object")
                    }
                    fn visit_map<A: serde::de::MapAccess<$de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut object = <$ty>::default();
                        while let Some(key) = map.next_key::<$crate::wire::Text<'_>>()? {
                            $(if key.0.eq_ignore_ascii_case($wire) {
                                let value = map.next_value::<Option<$read>>().map_err(|e| $crate::wire::at($wire, &e))?;
                                if let Some($value) = value {
                                    let $out = &mut object;
                                    $set;
                                }
                                continue;
                            })*
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_map(Members)
            }
        }
    };
}
pub(crate) use from_members;

/// `deserialize_with` for members of stored objects: what cannot be read is as if it were absent,
/// so that one odd object never hides an address that is in use.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned + Default,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}
