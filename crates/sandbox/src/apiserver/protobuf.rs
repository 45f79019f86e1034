//! Reads Kubernetes' protobuf bodies, which kubectl sends for the kinds it knows; answers are always JSON.

use std::{collections::HashMap, sync::OnceLock};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Every body starts with this, then comes a `runtime.Unknown`.
const MAGIC: &[u8] = b"k8s\0";

/// Messages in messages; the deepest real one is about 12.
const DEPTH_LIMIT: usize = 32;

static TABLE: &str = include_str!("protobuf.txt");

struct Field {
    name: &'static str,
    kind: &'static str,
    shape: Shape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Plain,
    Pointer,
    List,
    Map,
}

type Messages = HashMap<&'static str, HashMap<u64, Field>>;

fn messages() -> &'static Messages {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let (message, fields) = line.split_once(": ")?;
                Some((message, fields.split(", ").filter_map(field).collect()))
            })
            .collect()
    })
}

fn field(text: &'static str) -> Option<(u64, Field)> {
    let mut parts = text.split(' ');
    let (number, name, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let shapes = [("*", Shape::Pointer), ("[]", Shape::List), ("{}", Shape::Map)];
    let (kind, shape) = shapes
        .iter()
        .find_map(|(mark, shape)| Some((kind.strip_prefix(mark)?, *shape)))
        .unwrap_or((kind, Shape::Plain));
    Some((number.parse().ok()?, Field { name, kind, shape }))
}

/// The JSON form of a protobuf body.
///
/// # Errors
/// A sentence that says what cannot be read.
pub(super) fn decode(body: &[u8]) -> Result<Value, String> {
    let rest = body.strip_prefix(MAGIC).ok_or("the body does not start with the mark of Kubernetes' protobuf")?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in parts(rest) {
        match part? {
            (1, Wire::Bytes(meta)) => {
                for part in parts(meta) {
                    match part? {
                        (1, Wire::Bytes(text)) => version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let package = match (group, kind.as_str()) {
        // Options of requests come in the version of the request.
        (_, "DeleteOptions") => "meta",
        ("", _) => "core",
        (group, _) => group.split('.').next().unwrap_or_default(),
    };
    let name = format!("{package}/{kind}");
    let mut value = message(&name, raw, 0)?;
    value["apiVersion"] = version.into();
    value["kind"] = kind.into();
    Ok(value)
}

fn message(name: &str, bytes: &[u8], depth: usize) -> Result<Value, String> {
    if depth > DEPTH_LIMIT {
        return Err("messages are nested too deeply".into());
    }
    let fields = messages().get(name).ok_or_else(|| format!("protobuf of {name} is not read; send JSON"))?;
    let mut map = Map::new();
    for part in parts(bytes) {
        let (number, wire) = part?;
        let Some(field) = fields.get(&number) else {
            return Err(format!("protobuf field {number} of {name} is not known; send JSON"));
        };
        match field.shape {
            Shape::Plain | Shape::Pointer => {
                let value = single(field.kind, &wire, depth)?;
                if field.name == "-" {
                    if let Value::Object(inner) = value {
                        map.extend(inner);
                    }
                } else if field.shape == Shape::Pointer || !is_zero(&value) {
                    map.insert(field.name.into(), value);
                }
            }
            Shape::List => {
                let slot = map.entry(field.name).or_insert(json!([]));
                let list = slot.as_array_mut().ok_or("a list and no list")?;
                match (&wire, field.kind) {
                    // Numbers may come packed.
                    (Wire::Bytes(packed), "i") => {
                        let mut rest = *packed;
                        while !rest.is_empty() {
                            list.push(integer(varint(&mut rest)?));
                        }
                    }
                    _ => list.push(single(field.kind, &wire, depth)?),
                }
            }
            Shape::Map => {
                let Wire::Bytes(entry) = wire else {
                    return Err(format!("{name}.{} is not a map", field.name));
                };
                let (mut key, mut value) = (String::new(), single(field.kind, &Wire::Bytes(&[]), depth)?);
                for part in parts(entry) {
                    match part? {
                        (1, Wire::Bytes(text)) => key = utf8(text)?,
                        (2, wire) => value = single(field.kind, &wire, depth)?,
                        _ => {}
                    }
                }
                map.entry(field.name).or_insert(json!({}))[key] = value;
            }
        }
    }
    Ok(Value::Object(map))
}

/// Go leaves zero values out of JSON where presence does not count.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        _ => false,
    }
}

fn single(kind: &str, wire: &Wire<'_>, depth: usize) -> Result<Value, String> {
    Ok(match (kind, wire) {
        ("i", Wire::Varint(n)) => integer(*n),
        ("b", Wire::Varint(n)) => (*n != 0).into(),
        ("f", Wire::Fixed64(bits)) => f64::from_bits(*bits).into(),
        ("s", Wire::Bytes(bytes)) => utf8(bytes)?.into(),
        ("y", Wire::Bytes(bytes)) => base64(bytes).into(),
        ("time" | "micro", Wire::Bytes(bytes)) => {
            let numbers = integers(bytes)?;
            let get = |n: u64| numbers.get(&n).copied().unwrap_or(0);
            match (get(1), i32::try_from(get(2)).unwrap_or(0)) {
                // Go's zero time is no time.
                (0 | -62_135_596_800, 0) => Value::Null,
                (seconds, nanos) => {
                    Timestamp::new(seconds, nanos).map_err(|error| error.to_string())?.to_string().into()
                }
            }
        }
        ("intstr", Wire::Bytes(bytes)) => {
            let is_text = integers(bytes)?.get(&1) == Some(&1);
            if is_text { text(bytes, 3)?.into() } else { integers(bytes)?.get(&2).copied().unwrap_or(0).into() }
        }
        ("quantity", Wire::Bytes(bytes)) => text(bytes, 1)?.into(),
        ("raw", Wire::Bytes(bytes)) => {
            let raw = text(bytes, 1)?;
            if raw.is_empty() { Value::Null } else { serde_json::from_str(&raw).map_err(|e| e.to_string())? }
        }
        (name, Wire::Bytes(bytes)) if name.contains('/') => message(name, bytes, depth + 1)?,
        _ => return Err(format!("a {kind} has the wrong wire type")),
    })
}

/// Numbers are two's complement in 64 bits.
fn integer(n: u64) -> Value {
    n.cast_signed().into()
}

fn integers(bytes: &[u8]) -> Result<HashMap<u64, i64>, String> {
    let mut found = HashMap::new();
    for part in parts(bytes) {
        if let (number, Wire::Varint(n)) = part? {
            found.insert(number, n.cast_signed());
        }
    }
    Ok(found)
}

fn text(bytes: &[u8], wanted: u64) -> Result<String, String> {
    for part in parts(bytes) {
        if let (number, Wire::Bytes(bytes)) = part?
            && number == wanted
        {
            return utf8(bytes);
        }
    }
    Ok(String::new())
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// The fields of a message, one after the other; the first error is the last item.
fn parts(bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>), String>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let part = next(&mut rest);
        if part.is_err() {
            rest = &[];
        }
        Some(part)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<(u64, Wire<'a>), String> {
    let tag = varint(rest)?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(rest)?),
        1 => {
            let eight = take(rest, 8)?.try_into().map_err(|_| "the body is cut off")?;
            Wire::Fixed64(u64::from_le_bytes(eight))
        }
        5 => {
            take(rest, 4)?;
            Wire::Fixed32
        }
        2 => {
            let length = varint(rest)?;
            let length = usize::try_from(length).map_err(|error| error.to_string())?;
            Wire::Bytes(take(rest, length)?)
        }
        other => return Err(format!("wire type {other} is not known")),
    };
    Ok((tag >> 3, wire))
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(n).ok_or("the body is cut off")?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, left) = rest.split_first().ok_or("the body is cut off")?;
        *rest = left;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long".into())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at) & 63) as usize;
            out.push(if at <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[number << 3 | 2, length], content].concat()
    }

    fn envelope(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC, &bytes(1, &meta), &bytes(2, raw)].concat()
    }

    #[test]
    fn a_body_becomes_json() {
        let meta = [bytes(1, b"m"), bytes(3, b""), bytes(8, b"")].concat();
        let entry = [bytes(1, b"k"), bytes(2, b"v")].concat();
        let raw = [bytes(1, &meta), bytes(2, &entry)].concat();
        let value = decode(&envelope("v1", "ConfigMap", &raw)).unwrap();
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}});
        assert_eq!(value, expected);
        // Presence counts for a pointer: replicas 0 stays.
        let raw = bytes(2, &[1 << 3, 0, 5 << 3, 0]);
        let value = decode(&envelope("apps/v1", "Deployment", &raw)).unwrap();
        assert_eq!(value["spec"], json!({"replicas": 0}));
    }

    #[test]
    fn nonsense_is_an_error() {
        let good = envelope("v1", "ConfigMap", &bytes(1, &bytes(1, b"m")));
        for end in 0..good.len() {
            // Cut anywhere: an answer or an error, never a panic.
            let _ = decode(&good[..end]);
        }
        assert!(decode(b"{}").is_err());
        assert!(decode(&envelope("v1", "Nothing", b"")).unwrap_err().contains("core/Nothing"));
        assert!(decode(&envelope("v1", "ConfigMap", &[9 << 3, 1])).unwrap_err().contains("field 9"));
        assert!(decode(&envelope("v1", "ConfigMap", &[0xff; 12])).is_err());
    }

    #[test]
    fn every_message_of_the_table_is_there() {
        for (name, fields) in messages() {
            for field in fields.values() {
                assert!(!field.kind.contains('/') || messages().contains_key(field.kind), "{name}: {}", field.kind);
            }
        }
        assert!(messages().len() > 200);
        assert_eq!([base64(b""), base64(b"a"), base64(b"ab"), base64(b"abc")], ["", "YQ==", "YWI=", "YWJj"]);
    }
}
