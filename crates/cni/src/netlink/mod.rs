//! Network configuration by netlink, each socket opened inside the namespace that it speaks for.

mod addr;
mod link;
mod netns;
mod route;

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

pub use addr::Address;
pub use link::{CONDEMNED, Child, IpvlanMode, Link, LinkKind, Mac, Veth, format_mac};
pub use netns::Netns;
pub use route::{NextHop, Route, Rule};

/// Called with every message before it is sent, to count messages and to let one fail.
pub type Tap = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// A netlink socket in one network namespace. Every call waits for the kernel's answer.
pub struct Net {
    socket: OwnedFd,
    ns: Netns,
    tap: Option<Tap>,
    sequence: u32,
}

impl Net {
    /// Opens a socket in a namespace.
    ///
    /// # Errors
    /// Those of `setns(2)` and `socket(2)`.
    pub fn open(ns: &Netns, tap: Option<Tap>) -> io::Result<Self> {
        let socket = ns.within(|| {
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
        })??;
        Ok(Net { socket, ns: ns.clone(), tap, sequence: 0 })
    }

    /// The namespace of the socket.
    pub fn ns(&self) -> &Netns {
        &self.ns
    }

    /// Creates something; what is there already is an error.
    fn create(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.talk(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Creates something or replaces what is in its place.
    fn replace(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.talk(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Changes or deletes.
    fn request(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.talk(message, NLM_F_ACK).map(drop)
    }

    fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.talk(message, NLM_F_ACK)
    }

    fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        // A dump that a change interrupted may lack entries; three in a row are unlikely.
        for _ in 0..2 {
            match self.talk(message.clone(), NLM_F_DUMP) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
        self.talk(message, NLM_F_DUMP)
    }

    fn talk(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        if let Some(tap) = &self.tap {
            tap()?;
        }
        self.sequence += 1;
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        let fd = self.socket.as_raw_fd();
        sendto(fd, &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match recv(fd, &mut buffer, MsgFlags::empty()) {
                Err(nix::errno::Errno::EINTR) => continue,
                length => length?,
            };
            let mut rest = &buffer[..length];
            while rest.len() >= 16 {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                let step = (message.header.length as usize).next_multiple_of(4).clamp(16, rest.len());
                rest = &rest[step..];
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => {
                        let interrupted = interrupted.then(|| io::Error::from(io::ErrorKind::Interrupted));
                        return interrupted.map_or(Ok(answers), Err);
                    }
                    _ => {}
                }
            }
        }
    }
}

const NLM_F_DUMP_INTR: u16 = 0x10;

/// Whether the kernel says that something is there already.
pub(crate) fn exists(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EEXIST as i32)
}

/// Whether the kernel says that something is not there.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    use nix::errno::Errno::{EADDRNOTAVAIL, ENODEV, ENOENT, ENXIO, ESRCH};
    let code = error.raw_os_error();
    [ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL, ENXIO].into_iter().any(|errno| code == Some(errno as i32))
}

/// Success also when the thing was gone.
pub(crate) fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })
}

/// Success also when the thing was there.
pub(crate) fn there_is_fine(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if exists(&error) { Ok(()) } else { Err(error) })
}

fn family(ip: std::net::IpAddr) -> netlink_packet_route::AddressFamily {
    use netlink_packet_route::AddressFamily::{Inet, Inet6};
    if ip.is_ipv4() { Inet } else { Inet6 }
}
