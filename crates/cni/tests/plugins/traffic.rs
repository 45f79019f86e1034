//! Real packets.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use galaxy_cni::netlink::Netns;
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{SockaddrStorage, bind},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Time until an echo request from one address to another is answered. Repeated every 5 ms as long as it is not.
#[track_caller]
pub(crate) fn ping(ns: &Netns, from: &str, to: &str) -> Duration {
    let begin = Instant::now();
    answered(ns, from, to, PATIENCE).unwrap_or_else(|| panic!("{from} gets no answer from {to}"));
    begin.elapsed()
}

/// Whether an echo request is answered in time.
pub(crate) fn answered(ns: &Netns, from: &str, to: &str, patience: Duration) -> Option<()> {
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let begin = Instant::now();
    let socket = ns.within(|| {
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect(&SocketAddr::new(to, 0).into()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        socket
    });
    let mut socket = socket.unwrap();
    let (request, answer, skip) = if to.is_ipv4() { (8, 0, 20) } else { (128, 129, 0) };
    // Type, code, checksum (the kernel's for IPv6), identifier, sequence number.
    let mut packet = [request, 0, 0, 0, 0x47, 0x58, 0, 1];
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    packet[2..4].copy_from_slice(&(!((sum & 0xffff) as u16 + (sum >> 16) as u16)).to_be_bytes());
    while begin.elapsed() < patience {
        // Unreachable comes as an error of the next call.
        let _ = socket.send(&packet);
        let mut buffer = [0; 256];
        while let Ok(length) = socket.read(&mut buffer) {
            if buffer[..length].get(skip) == Some(&answer) {
                return Some(());
            }
        }
    }
    None
}

/// A server that sends back what it gets, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

impl Drop for Server {
    fn drop(&mut self) {
        // This ends the wait for a connection, which nothing else does.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

pub(crate) fn serve(ns: &Netns, ip: &str) -> Server {
    let address = SocketAddr::new(ip.parse().unwrap(), 0);
    let listener = ns.within(|| TcpListener::bind(address).unwrap()).unwrap();
    let server = Server { address: listener.local_addr().unwrap(), listener: listener.try_clone().unwrap() };
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
        }
    });
    server
}

/// Sends more than one packet's worth from an address to a server and gets it back.
#[track_caller]
pub(crate) fn talk(ns: &Netns, from: &str, to: &Server) {
    let to = to.address;
    let from: IpAddr = from.parse().unwrap();
    let mut stream = ns
        .within(|| {
            let domain = if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
            socket.connect_timeout(&to.into(), PATIENCE).unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
            TcpStream::from(socket)
        })
        .unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = [0x5a; 4000];
    stream.write_all(&sent).unwrap();
    let mut back = [0; 4000];
    stream.read_exact(&mut back).unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
    assert_eq!(sent, back);
}

/// A packet socket on one device.
pub(crate) struct Tap(Socket);

impl Tap {
    /// Hears frames of an Ethernet protocol. On a VLAN device these are the ones that came with its tag.
    pub(crate) fn new(ns: &Netns, device: &str, protocol: u16) -> Tap {
        let socket = ns.within(|| {
            let protocol = Protocol::from(i32::from(protocol.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
            let link = |storage: SockaddrStorage| storage.as_link_addr().copied();
            let all = getifaddrs().unwrap().filter(|interface| interface.interface_name == device);
            let address = all.filter_map(|interface| interface.address.and_then(link)).next();
            bind(socket.as_raw_fd(), &address.unwrap_or_else(|| panic!("no device {device}"))).unwrap();
            socket
        });
        Tap(socket.unwrap())
    }

    /// Whether a frame comes in time that a test is true of.
    pub(crate) fn hears(&self, patience: Duration, test: impl Fn(&[u8]) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.0.set_read_timeout(Some(left)).unwrap();
            let mut frame = [0; 128];
            let Ok(length) = (&self.0).read(&mut frame) else { continue };
            if test(&frame[..length]) {
                return true;
            }
        }
        false
    }
}

/// Whether a frame is a gratuitous ARP for an address.
pub(crate) fn announces(frame: &[u8], ip: IpAddr) -> bool {
    let IpAddr::V4(ip) = ip else { return false };
    frame.get(28..32) == Some(&ip.octets()) && frame.get(38..42) == Some(&ip.octets())
}

/// Whether a frame is an IPv4 packet from an address.
pub(crate) fn is_from(frame: &[u8], ip: IpAddr) -> bool {
    let IpAddr::V4(ip) = ip else { return false };
    frame.get(26..30) == Some(&ip.octets())
}

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;
