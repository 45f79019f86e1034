//! Address conflict detection: does somebody have the address already?

use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    frame::{arp_probe, holder, solicitation},
    socket::PacketSocket,
};
use crate::netlink::Mac;

/// How often it is asked, and how long each answer may take: real hosts answer within a millisecond.
const ATTEMPTS: u32 = 3;
const WAIT: Duration = Duration::from_millis(70);

/// Asks on a device of the calling thread's namespace who has `ip`. Answers by `own` do not count.
///
/// # Errors
/// Those of `socket(2)`, `send(2)` and `poll(2)`.
pub(crate) fn probe(device: &str, own: Mac, ip: IpAddr) -> io::Result<Option<Mac>> {
    let socket = PacketSocket::open(device, ip.is_ipv4())?;
    let question = match ip {
        IpAddr::V4(ip) => arp_probe(own, ip),
        IpAddr::V6(ip) => solicitation(own, ip),
    };
    for _ in 0..ATTEMPTS {
        socket.send(&question)?;
        let deadline = Instant::now() + WAIT;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let Some(frame) = socket.receive(left)? else { break };
            if let Some(mac) = holder(&frame, ip, own) {
                return Ok(Some(mac));
            }
        }
    }
    Ok(None)
}
