//! Watches, filtered to this node by the API server.

use std::{collections::HashSet, hash::Hash, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use galaxy_api::floatingip::FloatingIP;
use k8s_openapi::api::core::v1 as core;
use kube::{
    Api,
    runtime::watcher::{self, Event, watcher},
};

use super::{Cluster, Holder, Known, Pod};

/// Delays after errors, the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

impl Cluster {
    /// Keeps the view up to date for ever, through all errors.
    pub async fn follow(self: Arc<Self>) {
        let pods = self.follow_with(
            0,
            Api::<core::Pod>::all(self.client.clone()),
            format!("spec.nodeName={}", self.node),
            |pod| {
                let pod = Pod::read(pod);
                Some(((pod.namespace.clone(), pod.name.clone()), pod))
            },
            |known| &mut known.pods,
        );
        let addresses = self.follow_with(
            1,
            Api::<FloatingIP>::all(self.client.clone()),
            format!("spec.node={}", self.node),
            Holder::read,
            |known| &mut known.addresses,
        );
        tokio::join!(pods, addresses);
    }

    async fn follow_with<T, K, V>(
        &self,
        which: usize,
        api: Api<T>,
        fields: String,
        read: impl Fn(&T) -> Option<(K, V)>,
        map: impl Fn(&mut Known) -> &mut std::collections::HashMap<K, V>,
    ) where
        T: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
        K: Eq + Hash,
    {
        let mut fields = Some(fields);
        let mut delay = RETRY.0;
        loop {
            let config = watcher::Config { field_selector: fields.clone(), ..watcher::Config::default() };
            let mut events = pin!(watcher(api.clone(), config));
            let mut listed = HashSet::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Init) => listed.clear(),
                    Ok(Event::InitApply(object)) => {
                        if let Some((key, value)) = read(&object) {
                            self.change(|known| drop(map(known).insert(key, value)));
                            listed.extend(read(&object).map(|(key, _)| key));
                        }
                    }
                    Ok(Event::Apply(object)) => {
                        if let Some((key, value)) = read(&object) {
                            self.change(|known| drop(map(known).insert(key, value)));
                        }
                    }
                    Ok(Event::Delete(object)) => {
                        if let Some((key, _)) = read(&object) {
                            self.change(|known| drop(map(known).remove(&key)));
                        }
                    }
                    Ok(Event::InitDone) => {
                        delay = RETRY.0;
                        self.change(|known| {
                            map(known).retain(|key, _| listed.contains(key));
                            known.synced[which] = true;
                        });
                        listed.clear();
                    }
                    Err(error) => {
                        let kind = T::kind(&());
                        if fields.is_some() && which == 1 && is_bad_request(&error) {
                            tracing::warn!("this API server cannot select FloatingIPs by node; watching all of them");
                            fields = None;
                            break;
                        }
                        tracing::warn!(%kind, error = %chain(&error), "watch failed; trying again");
                        self.metrics.retry("watch");
                        tokio::time::sleep(delay).await;
                        delay = (delay * 2).min(RETRY.1);
                    }
                }
            }
        }
    }
}

fn is_bad_request(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::Api(status)) | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            if status.code == 400
    )
}

/// An error with all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}
