//! One address: a compact key type, its neighbours, and the name of its object.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Address family. IPv4 sorts before IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4, 32 bits.
    V4,
    /// IPv6, 128 bits.
    V6,
}

impl Family {
    /// The family of `ip`. An IPv4-mapped IPv6 address is IPv6.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Length of an address in bits: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// The all-zeros address.
    pub fn min(self) -> Addr {
        match self {
            Family::V4 => Addr::V4_MIN,
            Family::V6 => Addr::V6_MIN,
        }
    }

    /// The all-ones address.
    pub fn max(self) -> Addr {
        match self {
            Family::V4 => Addr::V4_MAX,
            Family::V6 => Addr::V6_MAX,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// An address as a map key: 17 bytes, `Copy`, ordered numerically with all of IPv4 before all of IPv6.
///
/// An IPv4-mapped IPv6 address stays IPv6 here; ranges and topologies refuse it at their door.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr(IpAddr);

impl Addr {
    /// `0.0.0.0`
    pub const V4_MIN: Addr = Addr(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    /// `255.255.255.255`
    pub const V4_MAX: Addr = Addr(IpAddr::V4(Ipv4Addr::BROADCAST));
    /// `::`
    pub const V6_MIN: Addr = Addr(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    /// `ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff`
    pub const V6_MAX: Addr = Addr(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));

    /// The family of this address.
    pub fn family(self) -> Family {
        Family::of(self.0)
    }

    /// The address as the standard library's type.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The numeric value; an IPv4 address uses the low 32 bits.
    pub fn bits(self) -> u128 {
        match self.0 {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    /// The address with this numeric value; none if it does not fit the family.
    pub fn from_bits(family: Family, bits: u128) -> Option<Addr> {
        match family {
            Family::V4 => u32::try_from(bits).ok().map(|bits| Addr(IpAddr::V4(Ipv4Addr::from_bits(bits)))),
            Family::V6 => Some(Addr(IpAddr::V6(Ipv6Addr::from_bits(bits)))),
        }
    }

    /// The numerically next address of the family; none after the last.
    // Not `Iterator::next`: the address itself does not move.
    #[allow(clippy::should_implement_trait)]
    pub fn next(self) -> Option<Addr> {
        match self.0 {
            IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| Addr(Ipv4Addr::from_bits(bits).into())),
            IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| Addr(Ipv6Addr::from_bits(bits).into())),
        }
    }

    /// The numerically previous address of the family; none before the first.
    pub fn prev(self) -> Option<Addr> {
        match self.0 {
            IpAddr::V4(v4) => v4.to_bits().checked_sub(1).map(|bits| Addr(Ipv4Addr::from_bits(bits).into())),
            IpAddr::V6(v6) => v6.to_bits().checked_sub(1).map(|bits| Addr(Ipv6Addr::from_bits(bits).into())),
        }
    }

    /// The name of this address's `FloatingIP` object, see [`object_name`].
    pub fn object_name(self) -> String {
        object_name(self.0)
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        Addr(ip)
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(ip: Ipv4Addr) -> Self {
        Addr(ip.into())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(ip: Ipv6Addr) -> Self {
        Addr(ip.into())
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        addr.0
    }
}

impl std::str::FromStr for Addr {
    type Err = std::net::AddrParseError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Addr)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The numerically next address of `ip`'s family; none after the last.
pub fn next(ip: IpAddr) -> Option<IpAddr> {
    Addr(ip).next().map(Addr::ip)
}

/// The numerically previous address of `ip`'s family; none before the first.
pub fn prev(ip: IpAddr) -> Option<IpAddr> {
    Addr(ip).prev().map(Addr::ip)
}

/// The name of the `FloatingIP` object of `ip`.
///
/// IPv4 is dotted. An object name cannot hold `:`, so IPv6 is all eight groups in four hex digits each, joined by `-`:
/// `2001:db8::1` is `2001-0db8-0000-0000-0000-0000-0000-0001`.
pub fn object_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|group| format!("{group:04x}")).join("-"),
    }
}

/// The address that an object name stands for; none unless the name is exactly what [`object_name`] writes.
///
/// An IPv4-mapped address stays IPv6, so that a name never stands for another name's address.
pub fn parse_object_name(name: &str) -> Option<IpAddr> {
    let ip = match name.len() {
        7..=15 => IpAddr::V4(name.parse().ok()?),
        39 => {
            let mut groups = [0u16; 8];
            let mut parts = name.split('-');
            for group in &mut groups {
                *group = u16::from_str_radix(parts.next()?, 16).ok()?;
            }
            IpAddr::V6(groups.into())
        }
        _ => return None,
    };
    (object_name(ip) == name).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(s: &str) -> Addr {
        s.parse().unwrap()
    }

    #[test]
    fn object_names() {
        for (ip, name) in [
            ("0.0.0.0", "0.0.0.0"),
            ("10.20.5.17", "10.20.5.17"),
            ("255.255.255.255", "255.255.255.255"),
            ("::", "0000-0000-0000-0000-0000-0000-0000-0000"),
            ("2001:db8::1", "2001-0db8-0000-0000-0000-0000-0000-0001"),
            ("::ffff:10.0.0.1", "0000-0000-0000-0000-0000-ffff-0a00-0001"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff-ffff-ffff-ffff-ffff-ffff-ffff-ffff"),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(object_name(ip), name);
            assert_eq!(parse_object_name(name), Some(ip));
        }
    }

    #[test]
    fn only_canonical_object_names() {
        for name in [
            "",
            "10.0.0",
            "10.0.0.256",
            "010.0.0.1",
            "10.0.0.1 ",
            "10.0.0.1.",
            "2001-db8-0-0-0-0-0-1",
            "2001:0db8:0000:0000:0000:0000:0000:0001",
            "2001-0DB8-0000-0000-0000-0000-0000-0001",
            "2001-0db8-0000-0000-0000-0000-0000-+001",
            "2001-0db8-0000-0000-0000-0000-0000-0001-",
            "20010-db8-0000-0000-0000-0000-0000-0001",
            "２００1-0db8-0000-0000-0000-0000-0000",
        ] {
            assert_eq!(parse_object_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_ends_of_both_spaces() {
        for family in [Family::V4, Family::V6] {
            let (min, max) = (family.min(), family.max());
            assert_eq!((min.prev(), max.next()), (None, None));
            assert_eq!(min.next().and_then(Addr::prev), Some(min));
            assert_eq!(max.prev().and_then(Addr::next), Some(max));
            assert_eq!(Addr::from_bits(family, max.bits()), Some(max));
        }
        assert_eq!(Addr::from_bits(Family::V4, 1 << 32), None);
        assert!(Addr::V4_MAX < Addr::V6_MIN);
        assert_eq!(next("9.255.255.255".parse().unwrap()), Some("10.0.0.0".parse().unwrap()));
        assert_eq!(prev("1::".parse().unwrap()), Some(addr("0:ffff:ffff:ffff:ffff:ffff:ffff:ffff").ip()));
        assert!(size_of::<Addr>() <= 17);
    }

    proptest! {
        #[test]
        fn names_round_trip_and_order_is_numeric(a: u128, b: u128) {
            let (v6a, v6b) = (Addr::from_bits(Family::V6, a).unwrap(), Addr::from_bits(Family::V6, b).unwrap());
            prop_assert_eq!(parse_object_name(&v6a.object_name()), Some(v6a.ip()));
            prop_assert_eq!(v6a.cmp(&v6b), a.cmp(&b));
            let (a, b) = (a & 0xffff_ffff, b & 0xffff_ffff);
            let (v4a, v4b) = (Addr::from_bits(Family::V4, a).unwrap(), Addr::from_bits(Family::V4, b).unwrap());
            prop_assert_eq!(parse_object_name(&v4a.object_name()), Some(v4a.ip()));
            prop_assert_eq!(v4a.cmp(&v4b), a.cmp(&b));
            prop_assert!(v4a < v6b);
        }
    }
}
