//! What the access flags mean for the two ports, and what is told about what they leave open.

use std::sync::Arc;

use axum::Router;

use crate::cli::{Access, ApiAuth};
use crate::metrics::{Lack, Metrics, Port};
use crate::tls::{AllowedCallers, Tls, demand};

/// Demands client certificates for the extender's verbs, if the flags say so. Health is added behind it.
pub(crate) fn guard_extender(
    router: Router,
    access: &Access,
    tls: Option<&Arc<Tls>>,
    metrics: &Arc<Metrics>,
) -> Router {
    match tls {
        Some(tls) if access.client_ca_file.is_some() => {
            let allowed = AllowedCallers::new(&access.client_allowed_names, tls.clone(), metrics.clone());
            router.route_layer(axum::middleware::from_fn_with_state(allowed, demand))
        }
        _ => router,
    }
}

/// Says in the log and in a metric what is open to whoever reaches a port.
pub(crate) fn tell(access: &Access, metrics: &Metrics) {
    let tls = access.tls_cert_file.is_some();
    let lacks = [
        (
            Port::Extender,
            Lack::Tls,
            !tls,
            "both ports serve plain HTTP: whoever reaches them can read tokens and bind pods; give --tls-cert-file, or --bind=127.0.0.1",
        ),
        (Port::Api, Lack::Tls, !tls, ""),
        (
            Port::Extender,
            Lack::ClientCertificates,
            access.client_ca_file.is_none(),
            if tls { "the extender takes calls from everybody who reaches it; give --client-ca-file" } else { "" },
        ),
        (
            Port::Api,
            Lack::Authorization,
            access.api_auth == ApiAuth::None,
            "--api-auth=none: whoever reaches the HTTP API can release addresses and change pools",
        ),
    ];
    for (port, lack, lacks, text) in lacks {
        metrics.unprotected(port, lack, lacks);
        if lacks && !text.is_empty() {
            tracing::warn!("{text}");
        }
    }
}
