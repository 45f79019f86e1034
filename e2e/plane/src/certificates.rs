//! Certificates for tests, of an authority that lives as long as the test: X.509 v3 with P-256 keys.

use std::net::IpAddr;

use anyhow::{Result, anyhow};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};

use crate::files::{P256, pem};

/// A certificate with its key, both in PEM form.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS #8.
    pub key: String,
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Common name.
    pub common_name: &'a str,
    /// DNS names among the alternative names.
    pub dns: &'a [&'a str],
    /// IP addresses among them.
    pub ips: &'a [IpAddr],
    /// When its life begins and ends.
    pub life: (Timestamp, Timestamp),
}

impl<'a> Subject<'a> {
    /// From an hour ago until tomorrow.
    pub fn new(common_name: &'a str, dns: &'a [&'a str], ips: &'a [IpAddr]) -> Self {
        let now = Timestamp::now();
        Self { common_name, dns, ips, life: (now - 1.hour(), now + 24.hours()) }
    }
}

/// Issues certificates for servers and clients.
#[derive(Debug)]
pub struct Authority {
    name: String,
    key: EcdsaKeyPair,
    certificate: String,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn new(name: &str) -> Result<Self> {
        let (key, _) = new_key()?;
        let mut authority = Self { name: name.to_owned(), key, certificate: String::new() };
        let constraints = extension(&[0x55, 0x1d, 0x13], true, &sequence(&[&[0x01, 0x01, 0xff]]));
        let subject = Subject::new(name, &[], &[]);
        authority.certificate = authority.sign(&subject, authority.key.public_key().as_ref(), &constraints)?;
        Ok(authority)
    }

    /// Its certificate in PEM form.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Makes a key and a certificate for it, good for servers and clients.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn issue(&self, subject: &Subject<'_>) -> Result<Certified> {
        let (key, secret) = new_key()?;
        // 1.3.6.1.5.5.7.3.1 and .2: server and client.
        let usage = |number| element(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, number]);
        let mut extensions = extension(&[0x55, 0x1d, 0x25], false, &sequence(&[&usage(1), &usage(2)]));
        let dns = subject.dns.iter().map(|name| element(0x82, name.as_bytes()));
        let ips = subject.ips.iter().map(|ip| match ip {
            IpAddr::V4(ip) => element(0x87, &ip.octets()),
            IpAddr::V6(ip) => element(0x87, &ip.octets()),
        });
        let names: Vec<u8> = dns.chain(ips).flatten().collect();
        if !names.is_empty() {
            extensions.extend(extension(&[0x55, 0x1d, 0x11], false, &element(0x30, &names)));
        }
        let certificate = self.sign(subject, key.public_key().as_ref(), &extensions)?;
        Ok(Certified { certificate, key: pem("PRIVATE KEY", &secret)? })
    }

    fn sign(&self, subject: &Subject<'_>, public: &[u8], extensions: &[u8]) -> Result<String> {
        // ecdsa-with-SHA256
        let algorithm = sequence(&[&element(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])]);
        let mut serial = [0; 16];
        let random = SystemRandom::new();
        random.fill(&mut serial).map_err(|_| anyhow!("no randomness for a serial number"))?;
        // Positive, and not shortened.
        serial[0] = serial[0] & 0x7f | 0x40;
        let body = sequence(&[
            &element(0xa0, &element(0x02, &[2])),
            &element(0x02, &serial),
            &algorithm,
            &name(&self.name),
            &sequence(&[&time(subject.life.0), &time(subject.life.1)]),
            &name(subject.common_name),
            &[&P256, public].concat(),
            &element(0xa3, &element(0x30, extensions)),
        ]);
        let signature = self.key.sign(&random, &body).map_err(|_| anyhow!("no randomness for a signature"))?;
        // No bit of the last byte is unused.
        let signature = element(0x03, &[&[0], signature.as_ref()].concat());
        pem("CERTIFICATE", &sequence(&[&body, &algorithm, &signature]))
    }
}

fn new_key() -> Result<(EcdsaKeyPair, Vec<u8>)> {
    let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
    let secret = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| anyhow!("no randomness for a key"))?;
    let key = EcdsaKeyPair::from_pkcs8(algorithm, secret.as_ref(), &random).map_err(|error| anyhow!("{error}"))?;
    Ok((key, secret.as_ref().to_vec()))
}

/// Tag, length, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let bytes = length.to_be_bytes();
    let short = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1)..];
    let mut out = vec![tag];
    if length >= 0x80 {
        out.push(0x80 | u8::try_from(short.len()).unwrap_or(8));
    }
    out.extend(short);
    out.extend(content);
    out
}

fn sequence(elements: &[&[u8]]) -> Vec<u8> {
    element(0x30, &elements.concat())
}

/// A name of one attribute, the common name.
fn name(common_name: &str) -> Vec<u8> {
    let attribute = sequence(&[&element(0x06, &[0x55, 0x04, 0x03]), &element(0x0c, common_name.as_bytes())]);
    sequence(&[&element(0x31, &attribute)])
}

fn time(at: Timestamp) -> Vec<u8> {
    element(0x17, at.to_zoned(TimeZone::UTC).strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    sequence(&[&element(0x06, id), critical, &element(0x04, value)])
}
