//! Real packets.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use galaxy_cni::netlink::Netns;
use socket2::{Domain, Protocol, Socket, Type};

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

/// A server that sends back what it gets, until the test ends.
pub(crate) fn serve(ns: &Netns, ip: &str) -> SocketAddr {
    let address = SocketAddr::new(ip.parse().unwrap(), 0);
    let listener = ns.within(|| TcpListener::bind(address).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
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
    address
}

/// Sends more than one packet's worth from an address to a server and gets it back.
#[track_caller]
pub(crate) fn talk(ns: &Netns, from: &str, to: SocketAddr) {
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

/// Hears gratuitous ARPs for one address.
pub(crate) struct Listener {
    socket: Socket,
    ip: [u8; 4],
}

impl Listener {
    pub(crate) fn new(ns: &Netns, ip: [u8; 4]) -> Listener {
        let arp = Protocol::from(i32::from(0x0806u16.to_be()));
        Listener { socket: ns.within(|| Socket::new(Domain::PACKET, Type::RAW, Some(arp)).unwrap()).unwrap(), ip }
    }

    /// Whether one comes in time.
    pub(crate) fn within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut frame = [0; 128];
            let Ok(length) = (&self.socket).read(&mut frame) else { continue };
            if length >= 42 && frame[28..32] == self.ip && frame[38..42] == self.ip {
                return true;
            }
        }
        false
    }
}
