//! Client certificates of the scheduler's port: whoever can call it can bind pods.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Caller, Tls};
use crate::metrics::{Metrics, Port, Turned};

/// Whose certificates are good for a call of the extender.
#[derive(Clone)]
pub(crate) struct AllowedCallers {
    /// Any, if empty.
    names: Arc<[String]>,
    tls: Arc<Tls>,
    metrics: Arc<Metrics>,
}

impl AllowedCallers {
    pub(crate) fn new(names: &[String], tls: Arc<Tls>, metrics: Arc<Metrics>) -> Self {
        AllowedCallers { names: names.iter().map(|name| name.trim().to_owned()).collect(), tls, metrics }
    }

    fn check(&self, caller: Option<&Caller>) -> Result<(), (StatusCode, String)> {
        let Some(certificate) = caller.and_then(|caller| caller.certificate.as_deref()) else {
            let text = "401: Unauthorized: a client certificate of an authority in --client-ca-file is needed here; \
                kube-scheduler takes it from tlsConfig.certFile and keyFile of the extender";
            return Err((StatusCode::UNAUTHORIZED, text.to_owned()));
        };
        if self.names.is_empty() || certificate.names().any(|name| self.names.iter().any(|allowed| allowed == name)) {
            return Ok(());
        }
        // Other replicas call with the certificate that they serve with.
        if self.tls.peer_name().is_some_and(|name| certificate.dns_names.contains(&name)) {
            return Ok(());
        }
        let has: Vec<&str> = certificate.names().collect();
        let text = format!(
            "403: Forbidden: no name of the client certificate ({}) is in --client-allowed-names",
            has.join(", ")
        );
        Err((StatusCode::FORBIDDEN, text))
    }
}

/// Lets a request pass whose connection showed an allowed certificate.
pub(crate) async fn demand(State(allowed): State<AllowedCallers>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<ConnectInfo<Caller>>().map(|info| &info.0);
    match allowed.check(caller) {
        Ok(()) => next.run(request).await,
        Err((code, text)) => {
            let why = if code == StatusCode::FORBIDDEN { Turned::Forbidden } else { Turned::Unauthenticated };
            allowed.metrics.turned_away(Port::Extender, why);
            // The scheduler shows its user the code only.
            let client = caller.map(|caller| caller.address.to_string()).unwrap_or_default();
            tracing::warn!(client, path = request.uri().path(), "{text}");
            (code, text).into_response()
        }
    }
}
