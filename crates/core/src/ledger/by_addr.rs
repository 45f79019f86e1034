//! The index of owned addresses by address.

use std::net::IpAddr;

use super::entry::Slot;
use super::sorted::SortedSet;
use crate::addr::Addr;

/// One set for each family: an IPv4 address costs 4 bytes there instead of the 17 of an [`Addr`].
#[derive(Default)]
pub(super) struct ByAddr {
    v4: SortedSet<(u32, Slot)>,
    v6: SortedSet<([u8; 16], Slot)>,
}

impl ByAddr {
    pub(super) fn get(&self, addr: Addr) -> Option<Slot> {
        match addr.ip() {
            IpAddr::V4(ip) => self.v4.range((ip.to_bits(), 0)..=(ip.to_bits(), Slot::MAX)).map(|(_, slot)| slot).next(),
            IpAddr::V6(ip) => self.v6.range((ip.octets(), 0)..=(ip.octets(), Slot::MAX)).map(|(_, slot)| slot).next(),
        }
    }

    pub(super) fn insert(&mut self, addr: Addr, slot: Slot) {
        match addr.ip() {
            IpAddr::V4(ip) => self.v4.insert((ip.to_bits(), slot)),
            IpAddr::V6(ip) => self.v6.insert((ip.octets(), slot)),
        }
    }

    pub(super) fn remove(&mut self, addr: Addr, slot: Slot) {
        match addr.ip() {
            IpAddr::V4(ip) => self.v4.remove(&(ip.to_bits(), slot)),
            IpAddr::V6(ip) => self.v6.remove(&(ip.octets(), slot)),
        }
    }

    /// The slots of the addresses from `first` to `last`, ascending by address.
    pub(super) fn range(&self, first: Addr, last: Addr) -> impl Iterator<Item = Slot> + '_ {
        let v4 = match (first.ip(), last.ip()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Some((first.to_bits(), last.to_bits())),
            (IpAddr::V4(first), IpAddr::V6(_)) => Some((first.to_bits(), u32::MAX)),
            (IpAddr::V6(_), _) => None,
        };
        let v6 = match (first.ip(), last.ip()) {
            (IpAddr::V6(first), IpAddr::V6(last)) => Some((first.octets(), last.octets())),
            (IpAddr::V4(_), IpAddr::V6(last)) => Some(([0; 16], last.octets())),
            (_, IpAddr::V4(_)) => None,
        };
        let v4 = v4.filter(|(first, last)| first <= last).map(|(a, b)| self.v4.range((a, 0)..=(b, Slot::MAX)));
        let v6 = v6.filter(|(first, last)| first <= last).map(|(a, b)| self.v6.range((a, 0)..=(b, Slot::MAX)));
        v4.into_iter().flatten().map(|(_, slot)| slot).chain(v6.into_iter().flatten().map(|(_, slot)| slot))
    }
}
