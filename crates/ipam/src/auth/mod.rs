//! Who may use the HTTP API: the bearer token of a request says who asks (TokenReview), the API server whether they may
//! (SubjectAccessReview). Nothing is decided here, and nobody passes while the API server cannot be asked.

mod cache;
mod review;

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use galaxy_api::http::Envelope;

use crate::http::answer;
use crate::metrics::{Metrics, Port, Turned};
use review::{Doubt, Reviews};

/// What a request needs to be allowed, in the terms of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Right {
    verb: &'static str,
    resource: &'static str,
    /// Empty for cluster scope.
    namespace: &'static str,
    /// Empty for all.
    name: String,
}

/// Namespace in which the HTTP API makes pools.
const POOLS: &str = "kube-system";

/// The rights that a method of a path needs, all of them. None for what has no rule, which nobody may do then.
fn rights(method: &Method, path: &str, name: String) -> Option<Vec<Right>> {
    let addresses = |verb| Right { verb, resource: "floatingips", namespace: "", name: String::new() };
    let pools = |verb, name| Right { verb, resource: "pools", namespace: POOLS, name };
    let reads = method == Method::GET || method == Method::HEAD;
    let below = path.strip_prefix("/v1/")?;
    let (first, named) = below.split_once('/').map_or((below, false), |(first, _)| (first, true));
    Some(match (first, named) {
        ("ip", false) if reads => vec![addresses("list")],
        ("ip", false) if method == Method::POST => vec![addresses("delete")],
        // It makes the pool or changes it, whichever is needed.
        ("pool", false) if method == Method::POST => {
            vec![pools("create", String::new()), pools("update", String::new())]
        }
        ("pool", true) if reads => vec![pools("get", name)],
        ("pool", true) if method == Method::DELETE => vec![pools("delete", name)],
        _ => return None,
    })
}

/// Why a request is turned away.
#[derive(Debug)]
enum Denied {
    /// 401: it is not known who asks.
    Unauthenticated { what: String, invalid: bool },
    /// 403: they may not.
    Forbidden(String),
    /// 503: that cannot be found out now.
    Unavailable(String),
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (code, message, challenge) = match self {
            Denied::Unauthenticated { what, invalid } => {
                let error = if invalid { ", error=\"invalid_token\"" } else { "" };
                (401, format!("unauthorized: {what}"), Some(format!("Bearer realm=\"galaxy-ipam\"{error}")))
            }
            Denied::Forbidden(what) => (403, format!("forbidden: {what}"), None),
            Denied::Unavailable(what) => (503, format!("server error: {what}"), None),
        };
        let mut response = answer(code, &Envelope { code, message });
        if let Some(challenge) = challenge.and_then(|challenge| HeaderValue::from_str(&challenge).ok()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Stands before the routes of the HTTP API.
#[derive(Clone)]
pub(crate) struct Gate {
    reviews: Arc<Reviews>,
    metrics: Arc<Metrics>,
}

impl Gate {
    pub(crate) fn new(client: kube::Client, metrics: Arc<Metrics>) -> Self {
        Gate { reviews: Arc::new(Reviews::new(client)), metrics }
    }

    async fn check(&self, headers: &HeaderMap, method: &Method, path: &str, name: String) -> Result<(), Denied> {
        let token = bearer(headers)?;
        let user = match self.reviews.user(token).await {
            Ok(user) => user,
            Err(Doubt::No(why)) => {
                let what = format!("the API server does not accept the token: {why}");
                return Err(Denied::Unauthenticated { what, invalid: true });
            }
            Err(Doubt::Unknown(why)) => return Err(Denied::Unavailable(why)),
        };
        let Some(rights) = rights(method, path, name) else {
            return Err(Denied::Forbidden(format!("nobody may {method} {path}")));
        };
        for right in rights {
            match self.reviews.may(token, &user, &right).await {
                Ok(()) => {}
                Err(Doubt::No(why)) => return Err(Denied::Forbidden(why)),
                Err(Doubt::Unknown(why)) => return Err(Denied::Unavailable(why)),
            }
        }
        Ok(())
    }
}

/// Lets a request pass whose token's user has the rights that it needs.
pub(crate) async fn guard(
    State(gate): State<Gate>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    // A name that is no text matches no rule about a name: it asks for the right to all.
    let name = params.ok().and_then(|params| params.iter().next().map(|(_, name)| name.to_owned()));
    let checked = gate.check(request.headers(), request.method(), request.uri().path(), name.unwrap_or_default()).await;
    match checked {
        Ok(()) => next.run(request).await,
        Err(denied) => {
            gate.metrics.turned_away(
                Port::Api,
                match denied {
                    Denied::Unauthenticated { .. } => Turned::Unauthenticated,
                    Denied::Forbidden(_) => Turned::Forbidden,
                    Denied::Unavailable(_) => Turned::Unavailable,
                },
            );
            denied.into_response()
        }
    }
}

/// Longer than any token of Kubernetes.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(headers: &HeaderMap) -> Result<&str, Denied> {
    let denied = |what: &str, invalid| Denied::Unauthenticated { what: what.to_owned(), invalid };
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (given.next(), given.next()) {
        (None, _) => {
            let what = "there is no bearer token; send the header Authorization: Bearer TOKEN, \
                with a token as `kubectl create token SERVICEACCOUNT` prints it";
            return Err(denied(what, false));
        }
        (Some(_), Some(_)) => return Err(denied("there is more than one header Authorization", true)),
        (Some(value), None) => value,
    };
    let (scheme, token) = value.to_str().unwrap_or_default().trim().split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(denied("the header Authorization is not of the form Bearer TOKEN", false));
    }
    let token = token.trim();
    if token.len() > MAX_TOKEN_BYTES {
        return Err(denied("the token is longer than 16 KiB", true));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=:".contains(&byte);
    if token.is_empty() || !token.bytes().all(allowed) {
        return Err(denied("what follows Bearer is no token", true));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_needs_rights() {
        let named = |verb: &str, right: &str| {
            let name = "blue".to_owned();
            let (method, path) = right.split_once(' ').unwrap();
            let rights = rights(&method.parse().unwrap(), path, name).unwrap_or_default();
            let told: Vec<String> = rights
                .iter()
                .map(|right| format!("{} {} {} {}", right.verb, right.resource, right.namespace, right.name))
                .collect();
            assert_eq!(told.join("; "), verb, "{method} {path}");
        };
        named("list floatingips  ", "GET /v1/ip");
        named("list floatingips  ", "HEAD /v1/ip");
        named("delete floatingips  ", "POST /v1/ip");
        named("create pools kube-system ; update pools kube-system ", "POST /v1/pool");
        named("get pools kube-system blue", "GET /v1/pool/blue");
        named("delete pools kube-system blue", "DELETE /v1/pool/blue");
        for none in ["PUT /v1/ip", "GET /v1/pool", "POST /v1/pool/blue", "GET /v2/ip", "GET /v1/ip/x", "GET /"] {
            named("", none);
        }
    }

    #[test]
    fn what_is_a_bearer_token() {
        let token = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned).map_err(|denied| format!("{denied:?}"))
        };
        assert_eq!(token(&["Bearer abc.DEF-1_~+/="]).unwrap(), "abc.DEF-1_~+/=");
        assert_eq!(token(&["bearer  a"]).unwrap(), "a");
        for (values, words) in [
            (&[][..], "kubectl create token"),
            (&["Basic YTpi"], "not of the form Bearer TOKEN"),
            (&["Bearer"], "not of the form"),
            (&["Bearer a", "Bearer b"], "more than one"),
            (&["Bearer a b"], "no token"),
            (&["Bearer a,b"], "no token"),
        ] {
            assert!(token(values).unwrap_err().contains(words), "{values:?}");
        }
    }
}
