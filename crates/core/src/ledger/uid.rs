//! The uid of an object, in 16 bytes: every address has two of them.

use std::fmt;

/// The uid of an object. A random UUID, as the API server gives out, is kept in place; anything else as it came, elsewhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Repr);

/// Of a random UUID's 16 bytes, the half that says "version 4" is left out. What that frees tells the variants apart, and
/// `None` from both, so that a `Uid` and an `Option<Uid>` need no byte more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Uuid(Nibble, [u8; 15]),
    /// A thin pointer: a wide one would not fit beside what tells the variants apart.
    #[expect(clippy::box_collection, reason = "see above")]
    Text(Box<String>),
}

/// Four bits, in a byte whose other values the compiler may use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rustfmt::skip]
enum Nibble { X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, Xa, Xb, Xc, Xd, Xe, Xf }

impl Nibble {
    #[rustfmt::skip]
    const ALL: [Nibble; 16] = {
        use Nibble::*;
        [X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, Xa, Xb, Xc, Xd, Xe, Xf]
    };
}

/// The byte of a UUID whose upper half is its version.
const VERSION_AT: usize = 6;
const VERSION: u8 = 4;
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl Uid {
    /// The first in the order of uids.
    pub(super) const LEAST: Uid = Uid(Repr::Uuid(Nibble::X0, [0; 15]));

    /// True for the empty uid.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Repr::Text(text) if text.is_empty())
    }
}

/// The bytes of a UUID in canonical text; only lower case, so that the text that comes back is the text that went in.
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || DASHES.iter().any(|&at| bytes[at] != b'-') {
        return None;
    }
    let mut out = [0; 16];
    let digits = bytes.iter().enumerate().filter(|(at, _)| !DASHES.contains(at));
    for (nibble, (_, byte)) in digits.enumerate() {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        out[nibble / 2] |= value << (4 * (1 - nibble % 2));
    }
    Some(out)
}

impl Repr {
    fn random_uuid(text: &str) -> Option<Repr> {
        let bytes = uuid_bytes(text).filter(|bytes| bytes[VERSION_AT] >> 4 == VERSION)?;
        let mut rest = [0; 15];
        rest[..VERSION_AT].copy_from_slice(&bytes[..VERSION_AT]);
        rest[VERSION_AT..].copy_from_slice(&bytes[VERSION_AT + 1..]);
        Some(Repr::Uuid(Nibble::ALL[usize::from(bytes[VERSION_AT] & 0xf)], rest))
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Uid(Repr::random_uuid(text).unwrap_or_else(|| Repr::Text(Box::new(text.to_owned()))))
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        Uid::from(text.as_str())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Text(text) => f.write_str(text),
            Repr::Uuid(nibble, rest) => {
                let (before, after) = rest.split_at(VERSION_AT);
                let version = VERSION << 4 | *nibble as u8;
                for (at, byte) in before.iter().chain([&version]).chain(after).enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn is_in_place(uid: &Uid) -> bool {
        matches!(uid.0, Repr::Uuid(..))
    }

    #[test]
    fn the_text_that_comes_back_is_the_text_that_went_in() {
        let texts = [
            ("6b1f0c9e-7f2e-4a55-9a55-0d3a7b5c1e10", true),
            ("00000000-0000-4000-0000-000000000000", true),
            ("ffffffff-ffff-4fff-ffff-ffffffffffff", true),
            ("00000000-0000-0000-0000-000000000000", false),
            ("6b1f0c9e-7f2e-1a55-9a55-0d3a7b5c1e10", false),
            ("6B1F0C9E-7f2e-4a55-9a55-0d3a7b5c1e10", false),
            ("6b1f0c9e7f2e4a559a550d3a7b5c1e10", false),
            ("6b1f0c9e-7f2e-4a55-9a55-0d3a7b5c1e1", false),
            ("6b1f0c9e-7f2e-4a55-9a55_0d3a7b5c1e10", false),
            ("u-81", false),
            ("", false),
        ];
        for (text, in_place) in texts {
            let uid = Uid::from(text);
            assert_eq!((uid.to_string().as_str(), is_in_place(&uid)), (text, in_place));
            assert_eq!(uid.is_empty(), text.is_empty());
        }
        let all: BTreeSet<Uid> = texts.map(|(text, _)| Uid::from(text)).into();
        assert_eq!(all.len(), texts.len());
        assert_eq!((size_of::<Uid>(), size_of::<Option<Uid>>()), (16, 16));
    }

    proptest! {
        #[test]
        fn every_random_uuid_is_in_place_and_no_two_are_equal(a: u128, b: u128) {
            let text = |bits: u128| {
                let hex = format!("{:032x}", bits & !(0xf << 76) | 4 << 76);
                format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
            };
            let (a, b) = (text(a), text(b));
            let (uid_a, uid_b) = (Uid::from(a.as_str()), Uid::from(b.as_str()));
            prop_assert!(is_in_place(&uid_a) && is_in_place(&uid_b));
            prop_assert_eq!(uid_a.to_string(), a.clone());
            prop_assert_eq!(uid_a == uid_b, a == b);
        }
    }
}
