//! Lists.

use serde_json::{Value, json};

use super::{
    Status,
    api::{Op, Reply},
    object::{self, Object},
    selector::{FieldSelector, LabelSelector},
};

/// What a list or watch selects.
#[derive(Clone, Default)]
pub(super) struct Selection {
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
}

impl Selection {
    /// Judges the form in which the object is served.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }
}

impl Op<'_> {
    pub(super) fn selection(&self) -> Result<Selection, Status> {
        let params = &self.request.params;
        Ok(Selection {
            labels: LabelSelector::parse(params.get("labelSelector"))?,
            fields: FieldSelector::parse(params.get("fieldSelector"), &self.resource.fields)?,
        })
    }

    /// The objects that a list at this `resourceVersion` and match rule sees, and the revision it is of.
    pub(super) fn snapshot(&mut self, version: &str, exact: bool) -> Result<(Vec<Object>, u64), Status> {
        let namespace = self.request.target.namespace.as_deref();
        let storage = self.resource.storage.as_str();
        let newest = self.store.revision();
        let cached = self.store.cached_revision(storage);
        let at = match version {
            "" => newest,
            "0" => cached,
            text => {
                let wanted: u64 = text
                    .parse()
                    .map_err(|_| Status::bad_request(format!("resourceVersion {text:?} is not a number")))?;
                if wanted > newest {
                    let mut status =
                        Status::new(504, "Timeout", format!("Too large resource version: {wanted}, current: {newest}"));
                    status.details.insert(
                        "causes".into(),
                        json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]),
                    );
                    return Err(status);
                }
                // "Not older than": the cache if it is new enough, else it would wait until it is; we read past it.
                if exact {
                    wanted
                } else if cached >= wanted {
                    cached
                } else {
                    newest
                }
            }
        };
        let stored = if at == newest {
            self.store.list(storage, namespace)
        } else {
            self.store.list_at(storage, namespace, at)?
        };
        Ok((stored, at))
    }

    pub(super) fn list(&mut self) -> Result<Reply, Status> {
        let params = &self.request.params;
        let selection = self.selection()?;
        let limit = usize::try_from(params.number("limit")?).unwrap_or(usize::MAX);
        let token = params.get("continue");
        let (version, exact, after) = if token.is_empty() {
            let matching = params.get("resourceVersionMatch");
            (params.get("resourceVersion").to_string(), matching == "Exact", None)
        } else {
            let (revision, namespace, name) = read_token(token)?;
            (revision, true, Some((namespace, name)))
        };
        let (stored, at) = self.snapshot(&version, exact).map_err(|status| {
            if status.code == 410 && !token.is_empty() {
                Status::expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.")
            } else {
                status
            }
        })?;
        let mut found = stored
            .iter()
            .filter(|o| {
                after.as_ref().is_none_or(|(namespace, name)| {
                    (object::namespace(o), object::name(o)) > (namespace.as_str(), name.as_str())
                })
            })
            .map(|o| self.served(o))
            .filter(|o| selection.matches(o));
        let mut meta = json!({"resourceVersion": at.to_string()});
        let mut items: Vec<Object> =
            if limit == 0 { found.collect() } else { found.by_ref().take(limit.saturating_add(1)).collect() };
        if limit > 0 && items.len() > limit {
            items.truncate(limit);
            if let Some(last) = items.last() {
                meta["continue"] = format!("{at}/{}/{}", object::namespace(last), object::name(last)).into();
            }
        }
        Ok(Reply::List { resource: self.resource.clone(), items, meta })
    }
}

/// A continue token is `REVISION/NAMESPACE/NAME`, the last item already sent.
fn read_token(token: &str) -> Result<(String, String, String), Status> {
    let mut parts = token.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(revision), Some(namespace), Some(name)) if revision.parse::<u64>().is_ok() => {
            Ok((revision.into(), namespace.into(), name.into()))
        }
        _ => Err(Status::bad_request(format!("continue key is not valid: {token:?}"))),
    }
}
