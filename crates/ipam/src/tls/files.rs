//! Certificate files, and what is made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::certificate::Certificate;
use crate::cli::Access;

/// The files of the command line.
#[derive(Debug, Clone)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    authorities: Option<PathBuf>,
}

/// What was in them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) authorities: Option<Vec<u8>>,
}

/// What is made of it.
pub(super) struct Bundle {
    pub(super) extender: Arc<ServerConfig>,
    pub(super) api: Arc<ServerConfig>,
    /// For calls of other replicas.
    pub(super) peer: Arc<ClientConfig>,
    pub(super) certificate: Certificate,
}

impl Files {
    /// None without TLS.
    pub(super) fn of(access: &Access) -> Option<Self> {
        Some(Files {
            certificate: access.tls_cert_file.clone()?,
            key: access.tls_private_key_file.clone()?,
            authorities: access.client_ca_file.clone(),
        })
    }

    /// # Errors
    /// Names the flag and the file.
    pub(super) fn read(&self) -> anyhow::Result<Contents> {
        let read = |flag: &str, path: &Path| {
            std::fs::read(path).with_context(|| format!("{flag}={} cannot be read", path.display()))
        };
        Ok(Contents {
            certificate: read("--tls-cert-file", &self.certificate)?,
            key: read("--tls-private-key-file", &self.key)?,
            authorities: self.authorities.as_deref().map(|path| read("--client-ca-file", path)).transpose()?,
        })
    }

    /// # Errors
    /// Names the flag, the file and what is wrong with it.
    pub(super) fn bundle(&self, contents: &Contents) -> anyhow::Result<Bundle> {
        let (cert, key) = (self.certificate.display(), self.key.display());
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));

        let chain = certificates(&contents.certificate).with_context(|| format!("--tls-cert-file={cert}"))?;
        let certificate = chain.first().and_then(|first| Certificate::parse(first));
        let certificate = certificate.with_context(|| format!("--tls-cert-file={cert}: no X.509 certificate"))?;
        let private = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|error| anyhow::anyhow!("{error}"))
            .with_context(|| format!("--tls-private-key-file={key} holds no private key in PEM form"))?;
        CertifiedKey::from_der(chain.clone(), private.clone_key(), &provider)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => anyhow::anyhow!("the private key is not the certificate's"),
                error => anyhow::anyhow!("{error}"),
            })
            .with_context(|| format!("--tls-cert-file={cert} and --tls-private-key-file={key}"))?;
        let roots = match &contents.authorities {
            None => None,
            Some(pem) => {
                let file = self.authorities.as_deref().unwrap_or(Path::new("")).display();
                Some(Arc::new(authorities(pem).with_context(|| format!("--client-ca-file={file}"))?))
            }
        };

        let server = |clients: Option<&Arc<RootCertStore>>| -> anyhow::Result<Arc<ServerConfig>> {
            let builder = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(rustls::DEFAULT_VERSIONS)
                .context("TLS versions")?;
            let builder = match clients {
                // Whether one is needed depends on the path: kubelet's probes have none.
                Some(roots) => builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
                        .allow_unauthenticated()
                        .build()
                        .context("--client-ca-file")?,
                ),
                None => builder.with_no_client_auth(),
            };
            let mut config = builder
                .with_single_cert(chain.clone(), private.clone_key())
                .with_context(|| format!("--tls-cert-file={cert}"))?;
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Ok(Arc::new(config))
        };
        let peer = self.peer(&provider, roots.as_ref(), &chain, &private)?;
        // A browser that is asked for a certificate asks its user: the API is for tokens.
        Ok(Bundle { extender: server(roots.as_ref())?, api: server(None)?, peer, certificate })
    }

    /// Replicas show each other the certificate that they serve with, and trust the authorities of clients.
    fn peer(
        &self,
        provider: &Arc<CryptoProvider>,
        roots: Option<&Arc<RootCertStore>>,
        chain: &[CertificateDer<'static>],
        key: &PrivateKeyDer<'static>,
    ) -> anyhow::Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .context("TLS versions")?;
        let roots = match roots {
            Some(roots) => roots.clone(),
            // Without authorities, what other replicas serve with must be what this one does.
            None => {
                let mut own = RootCertStore::empty();
                own.add_parsable_certificates(chain.iter().cloned());
                Arc::new(own)
            }
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        let verifier = verifier.with_context(|| format!("--tls-cert-file={}", self.certificate.display()))?;
        let config = builder.with_webpki_verifier(verifier).with_client_auth_cert(chain.to_vec(), key.clone_key());
        Ok(Arc::new(config.with_context(|| format!("--tls-cert-file={}", self.certificate.display()))?))
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| anyhow::anyhow!("{error}")).context("malformed PEM")?;
    ensure!(!all.is_empty(), "no certificate in PEM form");
    Ok(all)
}

fn authorities(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in certificates(pem)?.into_iter().enumerate() {
        if let Err(error) = roots.add(certificate) {
            bail!("certificate {} of the file is no authority: {error}", number + 1);
        }
    }
    Ok(roots)
}
