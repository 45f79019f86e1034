//! Connections that speak TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Tls;
use super::certificate::Certificate;
use crate::metrics::{Metrics, Port, Turned};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at most; who comes then waits in the kernel's queue.
const AT_ONCE: usize = 256;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    /// Of an authority of `--client-ca-file`. None for who showed no certificate.
    pub(crate) certificate: Option<Arc<Certificate>>,
}

impl Connected<IncomingStream<'_, TlsListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A port that speaks TLS. Handshakes go on side by side, so that a slow one holds up nobody.
pub(crate) struct TlsListener {
    listener: TcpListener,
    tls: Arc<Tls>,
    port: Port,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, Caller)>>,
}

impl TlsListener {
    pub(crate) fn new(listener: TcpListener, tls: Arc<Tls>, port: Port) -> Self {
        TlsListener { listener, tls, port, handshakes: JoinSet::new() }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = Caller;

    async fn accept(&mut self) -> (Self::Io, Caller) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
                (stream, address) = Listener::accept(&mut self.listener), if self.handshakes.len() < AT_ONCE => {
                    let acceptor = TlsAcceptor::from(self.tls.server(self.port));
                    let metrics = self.tls.metrics.clone();
                    self.handshakes.spawn(shake(acceptor, stream, address, self.port, metrics));
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Caller> {
        Ok(Caller { address: self.listener.local_addr()?, certificate: None })
    }
}

/// The handshake; none when it fails, which is told.
async fn shake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    port: Port,
    metrics: Arc<Metrics>,
) -> Option<(TlsStream<TcpStream>, Caller)> {
    // Small answers must not wait for more to come.
    let _ = stream.set_nodelay(true);
    let told = |why: &str| {
        metrics.turned_away(port, Turned::Handshake);
        tracing::warn!(port = port.as_str(), client = %address, "TLS handshake: {why}");
    };
    let shaken = tokio::time::timeout(HANDSHAKE, async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            // Whoever only looks whether the port is open says nothing.
            Ok(0) | Err(_) => return Ok(None),
            // A method of HTTP; a handshake begins with 22.
            Ok(_) if first[0].is_ascii_uppercase() => {
                refuse_plain(stream).await;
                return Err("the client speaks plain HTTP and must be told to use https".to_owned());
            }
            Ok(_) => {}
        }
        acceptor.accept(stream).await.map(Some).map_err(|error| error.to_string())
    });
    match shaken.await {
        Ok(Ok(stream)) => stream.map(|stream| {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificate = certificates.first().and_then(|first| Certificate::parse(first)).map(Arc::new);
            (stream, Caller { address, certificate })
        }),
        Ok(Err(why)) => {
            told(&why);
            None
        }
        Err(_) => {
            told("not done within 10 s");
            None
        }
    }
}

/// Tells a client in its own words. What it sent is read first: closing with unread bytes resets the connection.
async fn refuse_plain(mut stream: TcpStream) {
    let mut request = [0; 16 << 10];
    let _ = stream.read(&mut request).await;
    let text: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
        400: Bad Request: this port speaks HTTPS, the request came by plain HTTP\n";
    let _ = stream.write_all(text).await;
    let _ = stream.shutdown().await;
}
