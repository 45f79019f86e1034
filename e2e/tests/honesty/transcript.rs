//! Calls of an API server, and what of the answers is worth comparing: codes, reasons, shapes and order, not times and numbers; nor
//! `managedFields`, which the sandbox does not keep.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};

pub(crate) const JSON: &str = "application/json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// What was asked and answered, one line each, in order.
pub(crate) struct Transcript {
    client: Client,
    lines: Vec<String>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn version(&self) -> String {
        self.body["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn uid(&self) -> String {
        self.body["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
    }
}

impl Transcript {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, lines: Vec::new() }
    }

    /// The lines. Each begins with the name of its step, which is the same everywhere.
    pub(crate) fn lines(self) -> Vec<String> {
        self.lines
    }

    /// Makes a call that stands in the transcript under `step`.
    pub(crate) async fn call(
        &mut self,
        step: &str,
        method: &str,
        path: &str,
        kind: &str,
        body: Value,
    ) -> Result<Answer> {
        let answer = self.quietly(method, path, kind, JSON, body).await.context(step.to_owned())?;
        self.lines.push(format!("{step}: {} {}", answer.code, told(&answer.body)));
        Ok(answer)
    }

    pub(crate) async fn get(&mut self, step: &str, path: &str) -> Result<Answer> {
        self.call(step, "GET", path, JSON, Value::Null).await
    }

    pub(crate) async fn post(&mut self, step: &str, path: &str, body: Value) -> Result<Answer> {
        self.call(step, "POST", path, JSON, body).await
    }

    pub(crate) async fn put(&mut self, step: &str, path: &str, body: Value) -> Result<Answer> {
        self.call(step, "PUT", path, JSON, body).await
    }

    pub(crate) async fn patch(&mut self, step: &str, path: &str, kind: &str, body: Value) -> Result<Answer> {
        self.call(step, "PATCH", path, kind, body).await
    }

    pub(crate) async fn delete(&mut self, step: &str, path: &str, body: Value) -> Result<Answer> {
        self.call(step, "DELETE", path, JSON, body).await
    }

    /// What kubectl shows.
    pub(crate) async fn table(&mut self, step: &str, path: &str) -> Result<()> {
        let answer = self.quietly("GET", path, JSON, TABLE, Value::Null).await?;
        let texts = |list: &Value, of: fn(&Value) -> String| -> Vec<String> {
            list.as_array().into_iter().flatten().map(of).collect()
        };
        let columns = texts(&answer.body["columnDefinitions"], |column| {
            format!("{}/{}/{}", column["name"], column["type"], column["priority"]).replace('"', "")
        });
        let rows: Vec<Vec<String>> = answer.body["rows"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| {
                let cells = row["cells"].as_array().into_iter().flatten().zip(&columns);
                // Ages differ.
                cells
                    .map(|(cell, column)| if column.starts_with("Age/") { "…".to_owned() } else { cell.to_string() })
                    .collect()
            })
            .collect();
        self.lines.push(format!("{step}: {} {} {columns:?} {rows:?}", answer.code, answer.body["kind"]));
        Ok(())
    }

    /// Watches for two seconds, from a version on; bookmarks come when they like and count only where they end a list.
    pub(crate) async fn watch(&mut self, step: &str, path: &str) -> Result<()> {
        let path = format!("{path}&watch=true&timeoutSeconds=2");
        let (code, text) = self.send("GET", &path, JSON, JSON, Vec::new()).await?;
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let told: Vec<String> = events
            .filter_map(|event| {
                let (kind, object) = (event["type"].as_str().unwrap_or("?"), &event["object"]);
                match kind {
                    "BOOKMARK" => object
                        .pointer("/metadata/annotations/k8s.io~1initial-events-end")
                        .map(|_| "END OF LIST".to_owned()),
                    "ERROR" => Some(format!("ERROR {}", told(object))),
                    _ => Some(format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or("?"))),
                }
            })
            .collect();
        self.lines.push(format!("{step}: {code} {told:?}"));
        Ok(())
    }

    /// A call that leaves no trace.
    pub(crate) async fn quietly(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        accept: &str,
        body: Value,
    ) -> Result<Answer> {
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body)? };
        let (code, text) = self.send(method, path, kind, accept, bytes).await?;
        Ok(Answer { code, body: serde_json::from_str(&text).unwrap_or_else(|_| json!({ "text": text.trim() })) })
    }

    async fn send(&self, method: &str, path: &str, kind: &str, accept: &str, body: Vec<u8>) -> Result<(u16, String)> {
        let request =
            http::Request::builder().method(method).uri(path).header("content-type", kind).header("accept", accept);
        let response = self.client.send(request.body(Body::from(body))?).await?;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// What of a body is the same on every server.
fn told(body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |object: &Value| {
        let generated = object["metadata"]["generateName"].is_string();
        if generated { "(generated)".to_owned() } else { text(&object["metadata"]["name"]) }
    };
    if let Some(text) = body["text"].as_str() {
        return format!("text {text:?}");
    }
    if body["kind"] == "Status" {
        let details = &body["details"];
        let causes: BTreeSet<String> = details["causes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|cause| format!("{} {}", text(&cause["reason"]), text(&cause["field"])))
            .collect();
        return format!(
            "Status {} {} {:?} {:?} {causes:?}",
            body["status"],
            body["reason"],
            text(&details["kind"]),
            text(&details["name"])
        );
    }
    if let Some(items) = body["items"].as_array() {
        let names: Vec<String> = items.iter().map(name).collect();
        let meta = &body["metadata"];
        return format!(
            "{} {names:?} continue {} left {}",
            text(&body["kind"]),
            !text(&meta["continue"]).is_empty(),
            meta["remainingItemCount"]
        );
    }
    let meta = &body["metadata"];
    let members: BTreeSet<&String> =
        meta.as_object().into_iter().flatten().map(|(name, _)| name).filter(|name| *name != "managedFields").collect();
    let parts: BTreeSet<&String> = body.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    // Of kinds with defaults that Galaxy has no use for, only what the script wrote.
    let content = match body["kind"].as_str() {
        // Controllers count on meanwhile, and Go leaves out what is 0.
        Some("Scale") => {
            json!({"replicas": body["spec"]["replicas"].as_i64().unwrap_or(0), "selector": body["status"]["selector"]}).to_string()
        }
        Some("Widget" | "ConfigMap") => json!({"spec": body["spec"], "status": body["status"], "data": body["data"]}).to_string(),
        Some("Deployment") => json!({"replicas": body["spec"]["replicas"], "strategy": body["spec"]["strategy"]}).to_string(),
        Some("Pod") => json!({"node": body["spec"]["nodeName"], "annotations": meta["annotations"], "phase": body["status"]["phase"]}).to_string(),
        _ => String::new(),
    };
    format!(
        "{} {} meta {members:?} generation {} labels {} finalizers {} grace {} parts {parts:?} {content}",
        text(&body["kind"]),
        name(body),
        meta["generation"],
        meta["labels"],
        meta["finalizers"],
        meta["deletionGracePeriodSeconds"],
    )
}
