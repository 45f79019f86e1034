//! What this program wants to know of an X.509 certificate and rustls does not say: whose it is and how long it lasts.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Names and life time of a certificate. The signature is not looked at: that is rustls' work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The last common name of its subject.
    pub(crate) common_name: Option<String>,
    /// DNS names among its alternative names.
    pub(crate) dns_names: Vec<String>,
    /// URIs among them, such as SPIFFE ids.
    pub(crate) uris: Vec<String>,
    /// First second of its life, since 1970.
    pub(crate) not_before: i64,
    /// Last second of its life, since 1970.
    pub(crate) not_after: i64,
}

impl Certificate {
    /// Reads a certificate in DER form; none if it is not one.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let mut outer = Der(Der(der).expect(SEQUENCE)?);
        let mut tbs = Der(outer.expect(SEQUENCE)?);
        let (mut tag, _) = tbs.next()?;
        if tag == VERSION {
            // Then the serial number.
            (tag, _) = tbs.next()?;
        }
        if tag != INTEGER {
            return None;
        }
        tbs.expect(SEQUENCE)?; // algorithm
        tbs.expect(SEQUENCE)?; // issuer
        let mut validity = Der(tbs.expect(SEQUENCE)?);
        let mut certificate = Certificate {
            not_before: time(validity.next()?)?,
            not_after: time(validity.next()?)?,
            common_name: common_name(tbs.expect(SEQUENCE)?),
            dns_names: Vec::new(),
            uris: Vec::new(),
        };
        tbs.expect(SEQUENCE)?; // public key
        while let Some((tag, content)) = tbs.next() {
            if tag == EXTENSIONS {
                certificate.alternative_names(Der(content).expect(SEQUENCE)?);
            }
        }
        Some(certificate)
    }

    fn alternative_names(&mut self, extensions: &[u8]) {
        let mut extensions = Der(extensions);
        while let Some((SEQUENCE, extension)) = extensions.next() {
            let mut extension = Der(extension);
            if extension.expect(OBJECT_IDENTIFIER) != Some(&SUBJECT_ALT_NAME) {
                continue;
            }
            // A boolean may say that it is critical.
            let mut value = extension.next();
            if let Some((BOOLEAN, _)) = value {
                value = extension.next();
            }
            let Some((OCTET_STRING, value)) = value else { return };
            let mut names = Der(Der(value).expect(SEQUENCE).unwrap_or_default());
            while let Some((kind, name)) = names.next() {
                let Ok(name) = std::str::from_utf8(name) else { continue };
                match kind {
                    DNS_NAME => self.dns_names.push(name.to_owned()),
                    URI => self.uris.push(name.to_owned()),
                    _ => {}
                }
            }
        }
    }

    /// All names by which its owner may be allowed.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.common_name.iter().chain(&self.dns_names).chain(&self.uris).map(String::as_str)
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// 2.5.4.3
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// 2.5.29.17
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// What is left of a run of elements.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Tag and content of the next element; none at the end and for what is malformed.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let bytes = usize::from(first & 0x7f);
            if !(1..=4).contains(&bytes) || rest.len() < bytes {
                return None;
            }
            let (number, after) = rest.split_at(bytes);
            length = number.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
        }
        if rest.len() < length {
            return None;
        }
        let (content, rest) = rest.split_at(length);
        self.0 = rest;
        Some((tag, content))
    }

    /// Content of the next element if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

fn common_name(subject: &[u8]) -> Option<String> {
    let (mut sets, mut name) = (Der(subject), None);
    while let Some((SET, set)) = sets.next() {
        let mut set = Der(set);
        while let Some((SEQUENCE, attribute)) = set.next() {
            let mut attribute = Der(attribute);
            if attribute.expect(OBJECT_IDENTIFIER) == Some(&COMMON_NAME) {
                let value = attribute.next().and_then(|(_, value)| std::str::from_utf8(value).ok());
                name = value.map(str::to_owned).or(name);
            }
        }
    }
    name
}

/// Seconds since 1970 of a UTCTime (years 1950 to 2049) or GeneralizedTime.
fn time((tag, content): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME => format!("{}{text}", if text.as_bytes().first()? >= &b'5' { "19" } else { "20" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}
