//! Telling the neighbours where an address is, and asking whether somebody has it.

mod frame;
mod probe;
mod repeat;
mod socket;

pub(crate) use probe::probe;
pub(crate) use repeat::{ARGUMENT, Job, Jobs, Senders, Where, announce_again, announce_as_told, repeat};

use std::{io, net::IpAddr};

use crate::netlink::Mac;
use socket::FrameSender;

/// One announcement on one device of the calling thread's namespace.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Announcement {
    /// Device.
    pub device: String,
    /// Address of the device, or of who answers there for the address.
    pub mac: Mac,
    /// The announced address.
    pub ip: IpAddr,
    /// ARP request instead of reply.
    pub request: bool,
}

impl Announcement {
    /// Sends it once: a gratuitous ARP, or an unsolicited neighbour advertisement.
    ///
    /// # Errors
    /// Those of `sendto(2)`; there is no such device.
    fn send(&self, sender: &FrameSender) -> io::Result<()> {
        let frame = match self.ip {
            IpAddr::V4(ip) => frame::gratuitous_arp(self.mac, ip, self.request),
            IpAddr::V6(ip) => frame::advertisement(self.mac, ip),
        };
        sender.send(&self.device, &frame)
    }
}
