//! How replicas reach each other: plain, or over TLS with the certificate that they also serve with.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use crate::tls::Tls;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(1);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Connects to other replicas.
#[derive(Clone)]
pub(super) struct Connector {
    http: HttpConnector,
    tls: Option<Arc<Tls>>,
}

impl Connector {
    pub(super) fn new(tls: Option<Arc<Tls>>) -> Self {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(CONNECT));
        http.set_nodelay(true);
        http.enforce_http(false);
        Connector { http, tls }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let tls = self.tls.clone();
        let tcp = self.http.call(uri.clone());
        Box::pin(async move {
            let tls = match tls {
                // A token or a pod must not go in the clear because somebody edited the Lease.
                Some(_) if !secure => {
                    return Err(format!("{uri}: this replica has TLS and calls no other without").into());
                }
                None if secure => {
                    return Err(format!("{uri}: this replica has no --tls-cert-file to call another with").into());
                }
                tls => tls,
            };
            let tcp = tcp.await?.into_inner();
            let Some(tls) = tls else { return Ok(TokioIo::new(Stream::Plain(tcp))) };
            // The address is one of a pod: certificates name what all replicas have in common.
            let name =
                tls.peer_name().ok_or("the certificate of --tls-cert-file has no DNS name to know replicas by")?;
            let name = ServerName::try_from(name)?;
            let stream = tokio::time::timeout(CONNECT, TlsConnector::from(tls.peer()).connect(name, tcp));
            let stream = stream.await.map_err(|_| format!("{uri}: no TLS handshake within {CONNECT:?}"))??;
            Ok(TokioIo::new(Stream::Tls(Box::new(stream))))
        })
    }
}

/// A connection to another replica.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
