//! A pod on a node: its namespace, and the web server in it.

use std::net::{Ipv4Addr, TcpListener};

use axum::Router;
use galaxy_cni::netlink::{Net, Netns};
use tokio::task::AbortHandle;

use super::{cni::Pause, greeting};

pub(super) struct Sandbox {
    pub(super) pause: Pause,
    pub(super) node: String,
    pub(super) ns: Netns,
    server: AbortHandle,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Sandbox {
    /// Starts the web server of a pod that has its network. It says which pod it is.
    pub(super) async fn serve(pause: Pause, node: &str, ns: Netns) -> anyhow::Result<Self> {
        let inside = ns.clone();
        let listen = move || {
            Net::open(&inside, None)?.set_up(1)?;
            let listener = inside.within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)))??;
            listener.set_nonblocking(true).map(|()| listener)
        };
        let listener = tokio::net::TcpListener::from_std(tokio::task::spawn_blocking(listen).await??)?;
        let said = greeting(&pause.name, &pause.uid, node);
        let router = Router::new().fallback(move || async move { said });
        let server = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Ok(Sandbox { pause, node: node.to_owned(), ns, server })
    }
}
