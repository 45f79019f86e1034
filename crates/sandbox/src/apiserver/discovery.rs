//! What is not about one resource: discovery, version, health, OpenAPI.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{api::Api, openapi, resource::Resource};

const VERSION: &str = "v1.37.2-galaxy-sandbox";
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The answer to a GET of a path that is not a resource: body and content type.
pub(super) fn get(api: &Api, path: &str, accept: &str) -> Option<(Bytes, String)> {
    let json = |value: Value| Some((Bytes::from(value.to_string()), "application/json".into()));
    let path = path.trim_end_matches('/');
    if let "/healthz" | "/livez" | "/readyz" = path {
        return Some((Bytes::from_static(b"ok"), "text/plain".into()));
    }
    if path == "/version" {
        return json(json!({
            "major": "1", "minor": "37", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
        }));
    }
    let resources: Vec<Arc<Resource>> = api.store().registry.all().cloned().collect();
    if path.starts_with("/openapi/") {
        return openapi::get(&resources, path).and_then(json);
    }
    if path == "/api" || path == "/apis" {
        let legacy = path == "/api";
        if let Some(version) = aggregated_version(accept) {
            let list = aggregated(&resources, legacy, version);
            let content_type = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
            return Some((Bytes::from(list.to_string()), content_type));
        }
        return json(if legacy {
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        } else {
            let groups: Vec<Value> = groups(&resources)
                .into_iter()
                .filter(|(name, _)| !name.is_empty())
                .map(|(name, versions)| group(&name, &versions))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        });
    }
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (wanted, version) = match segments.as_slice() {
        ["api", version] => ("", *version),
        ["apis", name] => {
            let (name, versions) = groups(&resources).remove_entry(*name)?;
            let mut one = group(&name, &versions);
            one["kind"] = "APIGroup".into();
            one["apiVersion"] = "v1".into();
            return json(one);
        }
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    let of_version: Vec<&Arc<Resource>> =
        resources.iter().filter(|r| r.group == wanted && r.version == version).collect();
    let first = of_version.first()?;
    let list: Vec<Value> = of_version.iter().flat_map(|r| api_resources(r)).collect();
    json(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": list}))
}

fn aggregated_version(accept: &str) -> Option<&'static str> {
    let wants = |version: &str| {
        accept.split(',').any(|media| {
            media.contains("as=APIGroupDiscoveryList") && media.split(';').any(|p| p.trim() == format!("v={version}"))
        })
    };
    ["v2", "v2beta1"].into_iter().find(|v| wants(v))
}

/// The versions of each group, the best first.
fn groups(resources: &[Arc<Resource>]) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in resources {
        let versions = groups.entry(resource.group.clone()).or_default();
        if !versions.contains(&resource.version) {
            versions.push(resource.version.clone());
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by_key(|v| std::cmp::Reverse(rank(v)));
    }
    groups
}

/// Stable before beta before alpha, then the higher number; names of another form last.
fn rank(version: &str) -> (u8, u64, u64) {
    let number = |text: &str| text.parse::<u64>().ok();
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    for (word, level) in [("alpha", 1), ("beta", 2)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return match (number(major), number(minor)) {
                (Some(major), Some(minor)) => (level, major, minor),
                _ => (0, 0, 0),
            };
        }
    }
    number(rest).map_or((0, 0, 0), |major| (3, major, 0))
}

fn group(name: &str, versions: &[String]) -> Value {
    let all: Vec<Value> =
        versions.iter().map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v})).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

/// A subresource: kind with group and version, and verbs.
fn subresource(resource: &Resource, name: &str) -> (String, String, String, Vec<&'static str>) {
    let own = || (resource.group.clone(), resource.version.clone(), resource.kind.clone());
    let fixed = |group: &str, version: &str, kind: &str| (group.into(), version.into(), kind.into());
    let change = vec!["get", "patch", "update"];
    let ((group, version, kind), verbs) = match name {
        "scale" => (fixed("autoscaling", "v1", "Scale"), change),
        "binding" => (fixed("", "v1", "Binding"), vec!["create"]),
        "eviction" => (fixed("policy", "v1", "Eviction"), vec!["create"]),
        "finalize" => (own(), vec!["update"]),
        _ => (own(), change),
    };
    (group, version, kind, verbs)
}

fn api_resources(r: &Arc<Resource>) -> Vec<Value> {
    let mut main = json!({
        "name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": VERBS,
    });
    if !r.short_names.is_empty() {
        main["shortNames"] = json!(r.short_names);
    }
    if !r.categories.is_empty() {
        main["categories"] = json!(r.categories);
    }
    let mut all = vec![main];
    for name in r.subresources() {
        let (group, version, kind, verbs) = subresource(r, name);
        let mut sub = json!({
            "name": format!("{}/{name}", r.plural), "singularName": "", "namespaced": r.namespaced, "kind": kind, "verbs": verbs,
        });
        if group != r.group || version != r.version {
            sub["group"] = group.into();
            sub["version"] = version.into();
        }
        all.push(sub);
    }
    all
}

fn aggregated(resources: &[Arc<Resource>], legacy: bool, version: &str) -> Value {
    let items: Vec<Value> = groups(resources)
        .into_iter()
        .filter(|(name, _)| name.is_empty() == legacy)
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|v| {
                    let resources: Vec<Value> = resources
                        .iter()
                        .filter(|r| r.group == name && r.version == *v)
                        .map(aggregated_resource)
                        .collect();
                    json!({"version": v, "freshness": "Current", "resources": resources})
                })
                .collect();
            json!({"metadata": {"name": name}, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items})
}

fn aggregated_resource(r: &Arc<Resource>) -> Value {
    let subresources: Vec<Value> = r
        .subresources()
        .into_iter()
        .map(|name| {
            let (group, version, kind, verbs) = subresource(r, name);
            json!({"subresource": name, "verbs": verbs,
                "responseKind": {"group": group, "version": version, "kind": kind}})
        })
        .collect();
    let mut shown = json!({
        "resource": r.plural, "singularResource": r.singular, "verbs": VERBS,
        "scope": if r.namespaced { "Namespaced" } else { "Cluster" },
        "responseKind": {"group": r.group, "version": r.version, "kind": r.kind},
    });
    for (member, list) in [("shortNames", &r.short_names), ("categories", &r.categories)] {
        if !list.is_empty() {
            shown[member] = json!(list);
        }
    }
    if !subresources.is_empty() {
        shown["subresources"] = subresources.into();
    }
    shown
}
