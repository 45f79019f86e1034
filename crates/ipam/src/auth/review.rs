//! The questions to the API server: who has this token, and may they do this.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use ring::digest;
use tokio::sync::Semaphore;

use super::Right;
use super::cache::{Cache, Key};
use crate::calls::{CallError, call};

/// How long a yes is believed.
const KEEP_YES: Duration = Duration::from_secs(10);
/// How long a no is believed: whoever was just given a right does not want to wait.
const KEEP_NO: Duration = Duration::from_secs(2);
/// Questions under way at most, so that a flood of made-up tokens stays here.
const AT_ONCE: usize = 32;
const GROUP: &str = "galaxy.k8s.io";

/// Why not.
#[derive(Debug, Clone)]
pub(super) enum Doubt {
    /// The API server says no.
    No(String),
    /// It cannot be asked.
    Unknown(String),
}

type Verdict<T> = Result<T, String>;

/// Asks, and remembers the answers for seconds.
pub(super) struct Reviews {
    client: kube::Client,
    users: Cache<Verdict<Arc<UserInfo>>>,
    rights: Cache<Verdict<()>>,
    asking: Semaphore,
}

impl Reviews {
    pub(super) fn new(client: kube::Client) -> Self {
        Reviews { client, users: Cache::new(), rights: Cache::new(), asking: Semaphore::new(AT_ONCE) }
    }

    /// Who has a token.
    pub(super) async fn user(&self, token: &str) -> Result<Arc<UserInfo>, Doubt> {
        let key = key(&[token]);
        if let Some(known) = self.users.get(&key, Instant::now()) {
            return known.map_err(Doubt::No);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..TokenReview::default()
        };
        let status = self.ask("tokenreviews", &review).await?.status.unwrap_or_default();
        let verdict = match (status.authenticated, status.user) {
            (Some(true), Some(user)) => Ok(Arc::new(user)),
            _ => Err(status.error.filter(|why| !why.is_empty()).unwrap_or_else(|| "it is not known there".to_owned())),
        };
        self.users.put(key, verdict.clone(), Instant::now(), keep(&verdict));
        verdict.map_err(Doubt::No)
    }

    /// Whether the user of a token has a right.
    pub(super) async fn may(&self, token: &str, user: &UserInfo, right: &Right) -> Result<(), Doubt> {
        let key = key(&[token, right.verb, right.resource, right.namespace, &right.name]);
        if let Some(known) = self.rights.get(&key, Instant::now()) {
            return known.map_err(Doubt::No);
        }
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                uid: user.uid.clone(),
                groups: user.groups.clone(),
                extra: user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    verb: given(right.verb),
                    group: given(GROUP),
                    resource: given(right.resource),
                    namespace: given(right.namespace),
                    name: given(&right.name),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let status = self.ask("subjectaccessreviews", &review).await?.status.unwrap_or_default();
        let verdict = if status.allowed { Ok(()) } else { Err(refusal(user, right, status.reason.as_deref())) };
        self.rights.put(key, verdict.clone(), Instant::now(), keep(&verdict));
        verdict.map_err(Doubt::No)
    }

    /// Makes a review; the answer is the review with a status.
    async fn ask<K>(&self, resource: &str, review: &K) -> Result<K, Doubt>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
            + Clone
            + serde::Serialize
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let asked = call(async {
            // Closed never; and the deadline counts from here, so that nobody queues for long.
            let _slot = self.asking.acquire().await;
            api.create(&PostParams::default(), review).await
        });
        asked.await.map_err(|error| Doubt::Unknown(unanswered(resource, &error)))
    }
}

/// Why the API server cannot be asked.
fn unanswered(resource: &str, error: &CallError) -> String {
    let text = format!("who asks cannot be checked now: create {resource}: {error}");
    match error.code() {
        Some(403) => format!("{text}; galaxy-ipam's ClusterRole must allow it, as the one in deploy/ does"),
        _ => text,
    }
}

/// What a user lacks and how to get it.
fn refusal(user: &UserInfo, right: &Right, reason: Option<&str>) -> String {
    let Right { verb, resource, namespace, name } = right;
    let mut text = format!("user {:?} may not {verb} {resource}.{GROUP}", user.username.as_deref().unwrap_or_default());
    if !name.is_empty() {
        text.push_str(&format!(" {name:?}"));
    }
    if !namespace.is_empty() {
        text.push_str(&format!(" in namespace {namespace}"));
    }
    if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
        text.push_str(&format!(" ({reason})"));
    }
    let role = if matches!(*verb, "list" | "get") { "galaxy-ipam-viewer" } else { "galaxy-ipam-operator" };
    format!("{text}; bind them to ClusterRole {role}")
}

fn keep<T>(verdict: &Verdict<T>) -> Duration {
    if verdict.is_ok() { KEEP_YES } else { KEEP_NO }
}

/// Digest of a question. Lengths keep its parts apart.
fn key(parts: &[&str]) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let mut key = Key::default();
    key.copy_from_slice(context.finish().as_ref());
    key
}
