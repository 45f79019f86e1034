//! What a request asks for, read from its path and query.

use std::collections::HashMap;

use super::Status;

/// The object, collection or subresource that a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

impl Target {
    /// `None` for a path that is not below `/api/V/` or `/apis/G/V/`, or is too deep.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<String> = path.trim_matches('/').split('/').map(decode).collect::<Option<_>>()?;
        let (group, rest) = match segments.split_first()? {
            (api, rest) if api == "api" => (String::new(), rest),
            (apis, rest) if apis == "apis" => {
                let (group, rest) = rest.split_first()?;
                (group.clone(), rest)
            }
            _ => return None,
        };
        let (version, rest) = rest.split_first()?;
        let mut target = Self { group, version: version.clone(), ..Self::default() };
        let rest = match rest {
            // `/namespaces/x` and its subresources are about the namespace itself.
            [namespaces, _] if namespaces == "namespaces" => rest,
            [namespaces, _, sub] if namespaces == "namespaces" && (sub == "status" || sub == "finalize") => rest,
            [namespaces, namespace, rest @ ..] if namespaces == "namespaces" => {
                target.namespace = Some(namespace.clone());
                rest
            }
            rest => rest,
        };
        let (resource, name, subresource) = match rest {
            [resource] => (resource, None, None),
            [resource, name] => (resource, Some(name), None),
            [resource, name, sub] => (resource, Some(name), Some(sub.clone())),
            // `pods/x/proxy/some/path`, `services/x/proxy/…`: named so that the answer can name it.
            [resource, name, sub, ..] => (resource, Some(name), Some(format!("{sub}/…"))),
            [] => return None,
        };
        target.resource = resource.clone();
        target.name = name.cloned();
        target.subresource = subresource;
        Some(target)
    }
}

fn decode(segment: &str) -> Option<String> {
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
            out.push(u8::from_str_radix(hex, 16).ok()?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// The query parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(HashMap<String, String>);

impl Params {
    pub(super) fn parse(uri: &http::Uri) -> Result<Self, Status> {
        axum::extract::Query::try_from_uri(uri)
            .map(|query| Self(query.0))
            .map_err(|error| Status::bad_request(format!("query {:?}: {error}", uri.query())))
    }

    /// The value, empty if absent.
    pub(super) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), "true" | "1" | "True")
    }

    /// A non-negative number, 0 if absent.
    ///
    /// # Errors
    /// 400 for anything else.
    pub(super) fn number(&self, key: &str) -> Result<u64, Status> {
        match self.get(key) {
            "" => Ok(0),
            text => text.parse().map_err(|_| {
                Status::bad_request(format!("query parameter {key}: {text:?} is not a non-negative number"))
            }),
        }
    }

    /// Whether `dryRun=All` is set.
    ///
    /// # Errors
    /// 400 for any other value of `dryRun`.
    pub(super) fn dry_run(&self) -> Result<bool, Status> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(Status::bad_request(format!("query parameter dryRun: {other:?} is not \"All\""))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let cases = [
            ("/api/v1/pods", "|v1|pods|-|-|-"),
            ("/api/v1/namespaces", "|v1|namespaces|-|-|-"),
            ("/api/v1/namespaces/a", "|v1|namespaces|-|a|-"),
            ("/api/v1/namespaces/a/status", "|v1|namespaces|-|a|status"),
            ("/api/v1/namespaces/a/pods", "|v1|pods|a|-|-"),
            ("/api/v1/namespaces/a/pods/p%2Dq/binding", "|v1|pods|a|p-q|binding"),
            ("/apis/apps/v1/namespaces/a/deployments/d/scale", "apps|v1|deployments|a|d|scale"),
            ("/apis/galaxy.k8s.io/v1alpha1/floatingips/10.0.0.1", "galaxy.k8s.io|v1alpha1|floatingips|-|10.0.0.1|-"),
            ("/api/v1/nodes/n/proxy/a/b", "|v1|nodes|-|n|proxy/…"),
        ];
        for (path, expected) in cases {
            let t = Target::parse(path).unwrap_or_else(|| panic!("{path}"));
            let dash = |o: Option<String>| o.unwrap_or_else(|| "-".into());
            let got = [t.group, t.version, t.resource, dash(t.namespace), dash(t.name), dash(t.subresource)];
            assert_eq!(got.join("|"), expected, "{path}");
        }
        for path in ["/", "/healthz", "/api/v1", "/apis/apps", "/apis/apps/v1", "/api/v1/pods/%zz"] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }
}
