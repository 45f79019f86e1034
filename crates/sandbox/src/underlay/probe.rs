//! Real packets to pods: an echo request and a GET.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use galaxy_cni::netlink::Netns;
use socket2::{Domain, Protocol, Socket, Type};

/// How long an answer may take. An address that has just moved answers within milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often an echo request is repeated meanwhile.
const REPEAT: Duration = Duration::from_millis(50);

/// Nothing, if an address answered as it should; else what it did.
pub type Answer = Result<(), String>;

/// Asks addresses from a namespace; each must say by HTTP what is expected.
pub(super) fn ask(ns: &Netns, wanted: &[(IpAddr, String)]) -> BTreeMap<IpAddr, Answer> {
    let one = |ip: IpAddr, expected: &str| -> Answer {
        ping(ip).map_err(|error| format!("{ip} does not answer ping: {error}"))?;
        let said = http(ip).map_err(|error| format!("{ip} does not answer HTTP: {error}"))?;
        if said == expected { Ok(()) } else { Err(format!("{ip} answers {:?} instead of {expected:?}", said)) }
    };
    let all = || wanted.iter().map(|(ip, expected)| (*ip, one(*ip, expected))).collect();
    ns.within(all).unwrap_or_else(|error| wanted.iter().map(|(ip, _)| (*ip, Err(error.to_string()))).collect())
}

/// Sends echo requests from the calling thread's namespace until one is answered.
///
/// # Errors
/// None is answered in half a second, or this user may not send any.
pub fn ping(to: IpAddr) -> io::Result<()> {
    if to.is_ipv6() {
        return Err(io::Error::other("the sandbox's underlay has no IPv6"));
    }
    let mut socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    socket.set_read_timeout(Some(REPEAT))?;
    // Type, code, checksum, identifier, sequence number.
    let mut packet = [8, 0, 0, 0, 0x47, 0x58, 0, 1];
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or_default();
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        // What is unreachable comes as an error of the next call.
        let _ = socket.send(&packet);
        let mut answer = [0; 128];
        while let Ok(length) = socket.read(&mut answer) {
            // After the IPv4 header.
            if answer[..length].get(20) == Some(&0) {
                return Ok(());
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The body of what an address answers at port 80.
pub(super) fn http(to: IpAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, 80), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {to}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{answer:?} is not HTTP")))
}
