//! Flags about who may connect and what they may do.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

const ACCESS: &str = "Access";

/// Who decides about requests to the HTTP API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ApiAuth {
    /// Bearer tokens are checked by TokenReview, rights by SubjectAccessReview.
    #[default]
    Kubernetes,
    /// Nobody: whoever reaches the port may do everything, as in the original.
    None,
}

/// What the command line says about access.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Access {
    /// Certificate (PEM, with its chain) that both ports serve TLS with. Read again when it changes. Without it both serve plain HTTP.
    #[arg(long, help_heading = ACCESS, value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// Private key (PEM) of --tls-cert-file.
    #[arg(long, help_heading = ACCESS, value_name = "FILE")]
    pub tls_private_key_file: Option<PathBuf>,

    /// Authorities (PEM) whose client certificates the extender's port takes. With it a certificate is demanded there, except for
    /// /healthy and /readyz. Read again when it changes.
    #[arg(long, help_heading = ACCESS, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,

    /// Names, separated by commas, of which a client certificate must have one as common name or as DNS or URI alternative name.
    /// Any of --client-ca-file, if not given. The first DNS name of --tls-cert-file is always allowed: other replicas call with it.
    #[arg(long, help_heading = ACCESS, value_name = "NAMES", value_delimiter = ',')]
    pub client_allowed_names: Vec<String>,

    /// Who decides about requests to the HTTP API: kubernetes (tokens and rights are checked by the API server) or none (everybody
    /// may list and release, as in the original).
    #[arg(long, help_heading = ACCESS, value_enum, value_name = "WHO", default_value = "kubernetes", hide_possible_values = true)]
    pub api_auth: ApiAuth,
}

impl Access {
    /// What no flag shows by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.tls_cert_file, &self.tls_private_key_file) {
            (Some(file), None) => {
                return Err(format!("--tls-cert-file={} needs --tls-private-key-file", file.display()));
            }
            (None, Some(file)) => {
                return Err(format!("--tls-private-key-file={} needs --tls-cert-file", file.display()));
            }
            _ => {}
        }
        if let (Some(file), None) = (&self.client_ca_file, &self.tls_cert_file) {
            return Err(format!(
                "--client-ca-file={} needs --tls-cert-file: plain HTTP has no certificates",
                file.display()
            ));
        }
        if self.client_allowed_names.iter().any(|name| name.trim().is_empty()) {
            return Err(format!("--client-allowed-names={} has an empty name", self.client_allowed_names.join(",")));
        }
        if self.client_ca_file.is_none() && !self.client_allowed_names.is_empty() {
            return Err(format!(
                "--client-allowed-names={} needs --client-ca-file",
                self.client_allowed_names.join(",")
            ));
        }
        Ok(())
    }
}
