//! The ports, and how serving on them ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::serve::ListenerExt;
use futures::FutureExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Port;
use crate::tls::{Caller, Tls, TlsListener};

/// How long a graceful stop waits for what is under way.
pub(crate) const FINISH: Duration = Duration::from_secs(3);

/// Opens a port; 0 takes any free one.
///
/// # Errors
/// Names the address.
pub(crate) async fn listen(bind: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(bind, port);
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Serves until the stop, then as long as what is under way takes, but not longer than [`FINISH`]: an idle connection would
/// keep a graceful shutdown waiting for ever.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<(Arc<Tls>, Port)>,
    router: Router,
    stop: CancellationToken,
) {
    let finished = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            tokio::time::sleep(FINISH).await;
        }
    };
    let server = match tls {
        Some((tls, port)) => {
            let (listener, service) =
                (TlsListener::new(listener, tls, port), router.into_make_service_with_connect_info::<Caller>());
            axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).into_future().boxed()
        }
        None => {
            let listener = listener.tap_io(|stream| {
                // Small answers must not wait for more to come.
                let _ = stream.set_nodelay(true);
            });
            axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).into_future().boxed()
        }
    };
    tokio::select! {
        // Accept errors are retried inside.
        _ = server => {}
        () = finished => {}
    }
}

/// Resolves when the process is asked to stop: SIGTERM or Ctrl-C.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        // Without handlers the process ends by the signal itself.
        Err(_) => std::future::pending().await,
    }
}
