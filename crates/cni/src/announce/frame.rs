//! The frames: ARP, and ICMPv6 neighbour discovery.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::Mac;

const BROADCAST: Mac = [0xff; 6];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

fn arp(operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(sender.0);
    frame.extend(ARP);
    // Ethernet, IPv4, their lengths, the operation.
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    for (mac, ip) in [sender, target] {
        frame.extend(mac);
        frame.extend(ip.octets());
    }
    frame
}

/// Sender and target are the announced address.
pub(super) fn gratuitous_arp(mac: Mac, ip: Ipv4Addr, request: bool) -> Vec<u8> {
    let operation = if request { ARP_REQUEST } else { ARP_REPLY };
    arp(operation, (mac, ip), (if request { [0; 6] } else { mac }, ip))
}

/// Asks without claiming the address (RFC 5227).
pub(super) fn arp_probe(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    arp(ARP_REQUEST, (mac, Ipv4Addr::UNSPECIFIED), ([0; 6], ip))
}

/// Unsolicited, to all nodes, override flag set.
pub(super) fn advertisement(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut body = vec![ADVERTISEMENT, 0, 0, 0, 0x20, 0, 0, 0];
    body.extend(ip.octets());
    // Option 2: target link-layer address, one unit of eight bytes.
    body.extend([2, 1]);
    body.extend(mac);
    icmp6(mac, ip, all_nodes, body)
}

/// Duplicate address detection of RFC 4862: from nobody.
pub(super) fn solicitation(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = ip.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut body = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    body.extend(ip.octets());
    icmp6(mac, Ipv6Addr::UNSPECIFIED, group, body)
}

fn icmp6(mac: Mac, from: Ipv6Addr, to: Ipv6Addr, mut body: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut pseudo = Vec::new();
    pseudo.extend(from.octets());
    pseudo.extend(to.octets());
    pseudo.extend([0, 0]);
    pseudo.extend(length);
    pseudo.extend([0, 0, 0, 58]);
    pseudo.extend(&body);
    let sum: u32 = pseudo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX);
    body[2..4].copy_from_slice(&checksum.to_be_bytes());

    let [.., a, b, c, d] = to.octets();
    let mut frame = vec![0x33, 0x33, a, b, c, d];
    frame.extend(mac);
    frame.extend(IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length);
    frame.extend([58, 255]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(body);
    frame
}

/// Who a received frame says has `ip`, other than `own`: an ARP from that address, another one's probe for it, or an
/// advertisement of it.
pub(super) fn holder(frame: &[u8], ip: IpAddr, own: Mac) -> Option<Mac> {
    let source: Mac = frame.get(6..12)?.try_into().ok()?;
    let protocol = frame.get(12..14)?;
    let mac: Mac = match ip {
        IpAddr::V4(ip) if protocol == ARP => {
            let sender: Mac = frame.get(22..28)?.try_into().ok()?;
            let claims = frame.get(28..32)? == ip.octets();
            let probes = frame.get(28..32)? == [0; 4] && frame.get(38..42)? == ip.octets() && frame[21] == ARP_REQUEST;
            (claims || probes).then_some(sender)?
        }
        IpAddr::V6(ip) if protocol == IPV6 => {
            let advertises = frame.get(20)? == &58 && frame.get(54)? == &ADVERTISEMENT;
            (advertises && frame.get(62..78)? == ip.octets()).then_some(source)?
        }
        _ => return None,
    };
    (mac != own).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Mac = [2, 0x42, 10, 0, 0, 5];
    const OTHER: Mac = [2, 0x42, 10, 0, 0, 9];

    #[test]
    fn who_has_an_address() {
        let v4 = Ipv4Addr::new(10, 0, 0, 5);
        let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5);
        for (frame, ip, holder_is) in [
            (gratuitous_arp(OTHER, v4, false), IpAddr::V4(v4), Some(OTHER)),
            (gratuitous_arp(OTHER, v4, true), v4.into(), Some(OTHER)),
            (gratuitous_arp(OURS, v4, true), v4.into(), None),
            (arp_probe(OTHER, v4), v4.into(), Some(OTHER)),
            (arp_probe(OURS, v4), v4.into(), None),
            (gratuitous_arp(OTHER, Ipv4Addr::new(10, 0, 0, 6), false), v4.into(), None),
            (advertisement(OTHER, v6), v6.into(), Some(OTHER)),
            (advertisement(OURS, v6), v6.into(), None),
            (advertisement(OTHER, Ipv6Addr::LOCALHOST), v6.into(), None),
            (solicitation(OTHER, v6), v6.into(), None),
            (advertisement(OTHER, v6), v4.into(), None),
        ] {
            assert_eq!(holder(&frame, ip, OURS), holder_is);
            // Whatever is cut off, nothing panics.
            (0..frame.len()).for_each(|length| {
                let _ = holder(&frame[..length], ip, OURS);
            });
        }
    }

    #[test]
    fn checksum_of_an_advertisement() {
        let frame = advertisement(OURS, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5));
        let mut sum = 58 + 32u32;
        for pair in frame[22..].chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
    }
}
