//! Requests to the agent's socket, and real packets.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use galaxy_cni::netlink::Netns;
use socket2::{Domain, Protocol, Socket, Type};

/// One request; status and body of the answer.
pub(crate) fn post(socket: &Path, body: &[u8]) -> std::io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "POST /cni HTTP/1.0\r\nHost: dummy\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((status, body.to_owned()))
}

/// Whether an echo request is answered in time. Repeated every 5 ms.
pub(crate) fn answers(from: &Netns, to: Ipv4Addr, patience: Duration) -> bool {
    let begin = Instant::now();
    let socket = from.within(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        socket.connect(&SocketAddr::new(IpAddr::V4(to), 0).into()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        socket
    });
    let mut socket = socket.unwrap();
    let mut packet = [8, 0, 0, 0, 0x47, 0x58, 0, 1];
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    packet[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    while begin.elapsed() < patience {
        let _ = socket.send(&packet);
        let mut buffer = [0; 256];
        while let Ok(length) = socket.read(&mut buffer) {
            if length > 20 && buffer[20] == 0 {
                return true;
            }
        }
    }
    false
}
