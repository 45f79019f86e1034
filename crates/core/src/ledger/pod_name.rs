//! The name of a pod as an address remembers it: in 16 bytes, for there is one on every address.

/// A pod's name, relative to the name of its workload. A controller names its pods `WORKLOAD-SUFFIX`, and the suffix is
/// short (`7d9f8b6c54-x2k4p`, `12`); any other name is kept as it is, elsewhere.
///
/// One name has one form for one workload: names of pods of one workload are equal where their forms are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PodName(Repr);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    /// What follows the workload's name and a dash, six bits a character; nothing = the pod is called as its workload.
    Suffix([u8; 15]),
    /// A thin pointer: a wide one would not fit.
    #[expect(clippy::box_collection, reason = "see above")]
    Whole(Box<String>),
}

/// Where each character of an object's name stands is its code; 0 is the end.
const ALPHABET: &[u8] = b"\0abcdefghijklmnopqrstuvwxyz0123456789-.";
const BITS: usize = 6;
const MOST: usize = 15 * 8 / BITS;

fn pack(suffix: &str) -> Option<[u8; 15]> {
    if suffix.len() > MOST {
        return None;
    }
    let mut packed: u128 = 0;
    for (at, byte) in suffix.bytes().enumerate() {
        let code = match byte {
            b'a'..=b'z' => byte - b'a' + 1,
            b'0'..=b'9' => byte - b'0' + 27,
            b'-' => 37,
            b'.' => 38,
            _ => return None,
        };
        packed |= u128::from(code) << (BITS * at);
    }
    let mut out = [0; 15];
    out.copy_from_slice(&packed.to_le_bytes()[..15]);
    Some(out)
}

fn unpack(bytes: &[u8; 15]) -> impl Iterator<Item = char> {
    let mut all = [0; 16];
    all[..15].copy_from_slice(bytes);
    let packed = u128::from_le_bytes(all);
    let codes = (0..MOST).map(move |at| (packed >> (BITS * at)) as usize & ((1 << BITS) - 1));
    codes.take_while(|&code| code > 0).map(|code| char::from(ALPHABET[code]))
}

impl PodName {
    /// The form of a pod's name, for a claim of this workload.
    pub(super) fn new(workload: Option<&str>, pod: &str) -> Self {
        let rest = workload.and_then(|workload| pod.strip_prefix(workload));
        let suffix = match rest {
            Some("") => Some(""),
            Some(rest) => rest.strip_prefix('-').filter(|suffix| !suffix.is_empty()),
            None => None,
        };
        let packed = suffix.and_then(pack).map(Repr::Suffix);
        PodName(packed.unwrap_or_else(|| Repr::Whole(Box::new(pod.to_owned()))))
    }

    /// The pod's name; `workload` is the name that it was made with.
    pub(super) fn text(&self, workload: Option<&str>) -> String {
        let suffix = match &self.0 {
            Repr::Whole(pod) => return pod.as_str().to_owned(),
            Repr::Suffix(suffix) => suffix,
        };
        let mut text = String::with_capacity(workload.map_or(0, str::len) + 1 + MOST);
        text.push_str(workload.unwrap_or_default());
        for (at, char) in unpack(suffix).enumerate() {
            if at == 0 {
                text.push('-');
            }
            text.push(char);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_short(name: &PodName) -> bool {
        matches!(name.0, Repr::Suffix(_))
    }

    #[test]
    fn the_name_that_comes_back_is_the_name_that_went_in() {
        for (workload, pod, short) in [
            (Some("web"), "web-7d9f8b6c54-x2k4p", true),
            (Some("db"), "db-0", true),
            (Some("db"), "db-4294967295", true),
            (Some("a.b"), "a.b-c.d-e", true),
            (Some("lone"), "lone", true),
            (Some("web"), "web-aaaaaaaaaaaaaaaaaaaa", true),
            (Some("web"), "web-aaaaaaaaaaaaaaaaaaaaa", false),
            (Some("web"), "web-", false),
            (Some("web"), "website-1", false),
            (Some("web"), "web-A", false),
            (Some("web"), "web-\0", false),
            (Some("web"), "other-1", false),
            (Some("web"), "", false),
            (Some(""), "", true),
            (None, "web-1", false),
            (None, "", false),
        ] {
            let name = PodName::new(workload, pod);
            assert_eq!((name.text(workload).as_str(), is_short(&name)), (pod, short), "{workload:?} {pod:?}");
        }
        assert_eq!((size_of::<PodName>(), size_of::<Option<PodName>>()), (16, 16));
    }

    proptest! {
        #[test]
        fn two_names_are_equal_where_their_forms_are(
            workload in proptest::option::of("[ab]{0,2}-?"), a in "[ab.-]{0,6}", b in "[ab.-]{0,6}"
        ) {
            let workload = workload.as_deref();
            let (form_a, form_b) = (PodName::new(workload, &a), PodName::new(workload, &b));
            prop_assert_eq!(form_a.text(workload), a.clone());
            prop_assert_eq!(form_a == form_b, a == b);
        }
    }
}
