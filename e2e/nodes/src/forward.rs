//! A way into the cluster's network namespace for programs outside.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// Passes connections to a listener, which may be of another network namespace, on to an address in this one, as long as the runtime lives.
///
/// # Errors
/// The listener cannot be used.
pub fn forward(listener: TcpListener, to: SocketAddr) -> Result<()> {
    listener.set_nonblocking(true).context("cannot use the listener")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot use the listener")?;
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut there) = tokio::net::TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut there).await;
                }
            });
        }
    });
    Ok(())
}
