//! Packet sockets.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    ifaddrs::getifaddrs,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockaddrLike, SockaddrStorage, bind, recv, send, sendto},
};
use socket2::{Domain, Protocol, Socket, Type};

const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;

/// Sends whole Ethernet frames on devices of one namespace.
///
/// It is of no protocol and bound to no device, for the kernel waits when it takes either from a socket. It also waits when the socket is
/// closed: 8 ms and more, which is for somebody to do who is in no hurry.
#[derive(Debug)]
pub(crate) struct FrameSender(OwnedFd);

impl FrameSender {
    /// Opens one in the calling thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        Ok(FrameSender(Socket::new(Domain::PACKET, Type::RAW, None)?.into()))
    }

    /// Sends on a device of the calling thread's namespace, which must be the socket's.
    pub(super) fn send(&self, device: &str, frame: &[u8]) -> io::Result<()> {
        sendto(self.0.as_raw_fd(), frame, &link_address(device)?, MsgFlags::empty())?;
        Ok(())
    }
}

impl From<FrameSender> for OwnedFd {
    fn from(sender: FrameSender) -> Self {
        sender.0
    }
}

/// Sends and receives whole Ethernet frames of one protocol.
pub(super) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens a socket for ARP or IPv6 on a device of the calling thread's namespace.
    pub(super) fn open(device: &str, arp: bool) -> io::Result<Self> {
        let address = link_address(device)?;
        let protocol = if arp { ETH_P_ARP } else { ETH_P_IPV6 };
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(protocol.to_be()))))?;
        bind(socket.as_raw_fd(), &address)?;
        Ok(PacketSocket(socket.into()))
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// The next frame, cut off after 256 bytes; none if the time is over.
    pub(super) fn receive(&self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        let mut wanted = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        if poll(&mut wanted, wait)? == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; 256];
        let length = recv(self.0.as_raw_fd(), &mut frame, MsgFlags::empty())?;
        frame.truncate(length);
        Ok(Some(frame))
    }
}

/// The address by which packet sockets know a device. Only the C library's list yields one without unsafe code.
fn link_address(device: &str) -> io::Result<LinkAddr> {
    let as_link = |address: SockaddrStorage| {
        (address.family() == Some(AddressFamily::Packet)).then(|| address.as_link_addr().copied()).flatten()
    };
    getifaddrs()?
        .filter(|interface| interface.interface_name == device)
        .find_map(|interface| interface.address.and_then(as_link))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no device {device}")))
}
