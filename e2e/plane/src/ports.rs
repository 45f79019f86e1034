//! Free TCP ports.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};
use rand::Rng;

/// So many different ports of 127.0.0.1 that nothing listens on.
///
/// They lie below the range from which the kernel takes ports for outgoing connections, so that only another listener can take one
/// before its user does; whoever starts a server on one must be ready to choose again.
///
/// # Errors
/// None can be found.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held: Vec<TcpListener> = Vec::with_capacity(N);
    let mut ports = [0; N];
    for _ in 0..10_000 {
        if held.len() == N {
            return Ok(ports);
        }
        let port = rand::rng().random_range(15_000..32_000);
        // Held until all are chosen, so that no port is chosen twice.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            ports[held.len()] = port;
            held.push(listener);
        }
    }
    bail!("no {N} free ports on 127.0.0.1")
}
