//! What the containers of tests on real nodes run.
//!
//! `galaxy-web` answers HTTP at port 80 with the pod's name and its addresses, one line, until SIGTERM. `galaxy-web pause` only waits
//! for SIGTERM, as the container that holds a pod's namespaces. `galaxy-web get ADDRESS` prints what a pod answers.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use nix::{
    ifaddrs::getifaddrs,
    sys::signal::{SigSet, Signal},
};

const PORT: u16 = 80;
/// Longest wait for a peer.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => serve(),
        ["pause"] => wait(),
        ["get", address] => get(address),
        _ => Err(format!("unknown arguments {arguments:?}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn wait() -> Done {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    // Process 1 gets no signal that it does not ask for.
    set.thread_block()?;
    set.wait()?;
    Ok(())
}

fn serve() -> Done {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))?;
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTERM);
    blocked.thread_block()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    wait()
}

fn answer(mut stream: TcpStream) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") && request.len() < 8192 {
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            read => request.extend_from_slice(&chunk[..read]),
        }
    }
    let body = format!("{}\n", identity());
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .ok()
}

/// The pod's name and its addresses.
fn identity() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut words = vec![name.trim().to_owned()];
    let addresses = getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    let addresses = addresses.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    words.extend(addresses.filter(|ip| !ip.is_loopback() && !link_local(ip)).map(|ip| ip.to_string()));
    words.join(" ")
}

fn get(address: &str) -> Done {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address.parse()?, PORT), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: pod\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("{address} answers {head}").into());
    }
    write!(std::io::stdout(), "{body}")?;
    Ok(())
}
