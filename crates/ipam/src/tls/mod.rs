//! TLS on both ports. Certificate files are followed: Kubernetes swaps the link to a new folder, other tools write in place, so their
//! contents are compared every second. What does not fit together is refused and what was in force stays.

mod caller;
mod certificate;
mod files;
mod listener;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use rustls::{ClientConfig, ServerConfig};

use crate::cli::Access;
use crate::metrics::{Metrics, Port};
pub(crate) use caller::{AllowedCallers, demand};
use certificate::Certificate;
use files::{Bundle, Contents, Files};
pub(crate) use listener::{Caller, TlsListener};

/// Time between looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// What both ports serve TLS with.
pub(crate) struct Tls {
    files: Files,
    metrics: Arc<Metrics>,
    /// What was in the files at the start.
    loaded: Contents,
    current: RwLock<Bundle>,
}

impl Tls {
    /// None if the command line wants plain HTTP. To be called before the ports are opened.
    ///
    /// # Errors
    /// The files cannot be read or do not fit together.
    pub(crate) fn load(access: &Access, metrics: Arc<Metrics>) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(files) = Files::of(access) else { return Ok(None) };
        let contents = files.read().context("TLS")?;
        let bundle = files.bundle(&contents).context("TLS")?;
        // Who cannot verify it will say so; everything else, and this line, is still there.
        if let Err(why) = in_time(&bundle.certificate) {
            tracing::error!("the certificate of --tls-cert-file {why}; clients will refuse it");
        }
        metrics.tls_expiry(bundle.certificate.not_after);
        Ok(Some(Arc::new(Tls { files, metrics, loaded: contents, current: RwLock::new(bundle) })))
    }

    /// Follows the files; never returns.
    pub(crate) async fn follow(self: Arc<Self>) {
        let (mut known, mut unreadable) = (self.loaded.clone(), false);
        loop {
            tokio::time::sleep(LOOK).await;
            match self.files.read() {
                Ok(contents) if contents == known => unreadable = false,
                Ok(contents) => {
                    self.take(&contents);
                    (known, unreadable) = (contents, false);
                }
                // In the middle of a change, most likely: told once, not counted.
                Err(error) if !unreadable => {
                    tracing::warn!("the certificate in force stays: {error:#}");
                    unreadable = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Brings new contents into force unless they are faulty.
    fn take(&self, contents: &Contents) {
        let bundle = self.files.bundle(contents).and_then(|bundle| {
            in_time(&bundle.certificate).map_err(|why| anyhow::anyhow!("the new certificate {why}"))?;
            Ok(bundle)
        });
        self.metrics.tls_reloaded(bundle.is_ok());
        match bundle {
            Ok(bundle) => {
                let until = Timestamp::from_second(bundle.certificate.not_after).unwrap_or_default();
                tracing::info!(%until, "certificate files have changed and are in force");
                self.metrics.tls_expiry(bundle.certificate.not_after);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = bundle;
            }
            Err(error) => {
                tracing::error!("changed certificate files are refused; the ones before stay in force: {error:#}")
            }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Bundle) -> T) -> T {
        look(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a new connection to a port is served with.
    fn server(&self, port: Port) -> Arc<ServerConfig> {
        self.read(|bundle| match port {
            Port::Extender => bundle.extender.clone(),
            Port::Api => bundle.api.clone(),
        })
    }

    /// What a call of another replica is made with.
    pub(crate) fn peer(&self) -> Arc<ClientConfig> {
        self.read(|bundle| bundle.peer.clone())
    }

    /// The name that all replicas' certificates have: the first DNS name of this one's.
    pub(crate) fn peer_name(&self) -> Option<String> {
        self.read(|bundle| bundle.certificate.dns_names.first().cloned())
    }
}

/// Whether a certificate is valid now.
fn in_time(certificate: &Certificate) -> Result<(), String> {
    let now = Timestamp::now().as_second();
    let text = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
    if now > certificate.not_after {
        return Err(format!("expired at {}", text(certificate.not_after)));
    }
    if now < certificate.not_before {
        return Err(format!("is not valid before {}", text(certificate.not_before)));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
