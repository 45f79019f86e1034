//! The custom resource definitions: made or brought up to date at the start, and awaited.

use std::time::Duration;

use anyhow::{Context, bail};
use galaxy_api::crd::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::calls::{Backoff, CallError, FIELD_MANAGER, Proof, call_within};

/// Creating a definition may take the API server longer than anything else.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a definition may take until its objects can be made.
const ESTABLISHED: Duration = Duration::from_secs(60);
/// Attempts at writing one: others may write it at the same time.
const ATTEMPTS: usize = 5;

/// Makes sure that the API server knows FloatingIPs and Pools as this version writes them.
///
/// # Errors
/// A definition can neither be written nor is there already.
pub(crate) async fn ensure(client: &Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds() {
        let name = crd.metadata.name.clone().unwrap_or_default();
        if let Err(error) = write(&api, &name, crd).await {
            // Whoever may not write definitions can have them installed beforehand.
            let there = call_within(DEADLINE, api.get_opt(&name)).await.is_ok_and(|crd| crd.is_some());
            if !there {
                return Err(error).with_context(|| format!("CustomResourceDefinition {name} cannot be created"));
            }
            tracing::warn!(name, %error, "the definition that is there is used as it is");
        }
        established(&api, &name).await?;
    }
    Ok(())
}

async fn write(
    api: &Api<CustomResourceDefinition>,
    name: &str,
    ours: CustomResourceDefinition,
) -> Result<(), CallError> {
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    let mut attempt = 1;
    loop {
        let result = match call_within(DEADLINE, api.get_opt(name)).await {
            Ok(None) => call_within(DEADLINE, api.create(&params, &ours)).await.map(drop),
            // So galaxy-ipam needs no right to write definitions that were installed with it.
            Ok(Some(theirs)) if is_ours(&theirs, &ours) => Ok(()),
            Ok(Some(theirs)) => {
                call_within(DEADLINE, api.replace(name, &params, &brought_up(theirs, &ours))).await.map(drop)
            }
            Err(error) => Err(error),
        };
        match result {
            Err(error) if attempt < ATTEMPTS && error.proof() != Proof::Refused => {
                tracing::debug!(name, %error, attempt, "definition not written; trying again");
                attempt += 1;
                backoff.wait().await;
            }
            result => return result,
        }
    }
}

/// The definition that is there, with our spec and annotations; what others added to its metadata stays.
fn brought_up(mut theirs: CustomResourceDefinition, ours: &CustomResourceDefinition) -> CustomResourceDefinition {
    let annotations = ours.metadata.annotations.clone().unwrap_or_default();
    theirs.metadata.annotations.get_or_insert_default().extend(annotations);
    theirs.metadata.managed_fields = None;
    theirs.spec = ours.spec.clone();
    theirs.status = None;
    theirs
}

/// Whether the definition that is there says what ours does.
fn is_ours(theirs: &CustomResourceDefinition, ours: &CustomResourceDefinition) -> bool {
    let mut spec = theirs.spec.clone();
    // What the API server fills in.
    spec.conversion =
        spec.conversion.filter(|conversion| ours.spec.conversion.is_some() || conversion.strategy != "None");
    let has = |(name, value)| theirs.metadata.annotations.as_ref().is_some_and(|all| all.get(name) == Some(value));
    spec == ours.spec && ours.metadata.annotations.iter().flatten().all(has)
}

async fn established(api: &Api<CustomResourceDefinition>, name: &str) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + ESTABLISHED;
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    loop {
        let found = call_within(DEADLINE, api.get_opt(name)).await;
        let conditions = match &found {
            Ok(Some(crd)) => crd.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default(),
            _ => &[],
        };
        if conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            let last: Vec<_> = conditions.iter().filter_map(|condition| condition.message.as_deref()).collect();
            bail!(
                "CustomResourceDefinition {name} is not Established after {} s: {}",
                ESTABLISHED.as_secs(),
                last.join("; ")
            );
        }
        backoff.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceConversion;

    use super::*;

    #[test]
    fn an_older_definition_gets_our_spec_and_keeps_its_identity() {
        let ours = crds().remove(0);
        let mut theirs = ours.clone();
        theirs.metadata.uid = Some("u".to_owned());
        theirs.metadata.resource_version = Some("7".to_owned());
        theirs.metadata.annotations = Some([("team".to_owned(), "network".to_owned())].into());
        assert!(!is_ours(&theirs, &ours));
        theirs
            .metadata
            .annotations
            .get_or_insert_default()
            .extend(ours.metadata.annotations.clone().unwrap_or_default());
        theirs.spec.conversion = Some(CustomResourceConversion { strategy: "None".to_owned(), webhook: None });
        assert!(is_ours(&theirs, &ours));
        theirs.metadata.annotations = Some([("team".to_owned(), "network".to_owned())].into());
        theirs.spec.versions.clear();
        let merged = brought_up(theirs, &ours);
        assert_eq!(merged.spec, ours.spec);
        assert_eq!(
            (merged.metadata.uid.as_deref(), merged.metadata.resource_version.as_deref()),
            (Some("u"), Some("7"))
        );
        let annotations = merged.metadata.annotations.unwrap();
        assert!(annotations.contains_key("team") && annotations.contains_key("api-approved.kubernetes.io"));
    }
}
