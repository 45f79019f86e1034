//! GC: the runtime says which attachments are valid, and all others go.

use std::{sync::Arc, time::Duration};

use galaxy_cni::spec::{Error, code};

use super::{Agent, Call};
use crate::state::Stored;

impl Agent {
    /// Takes away what is not valid, except for what is being made right now or is young.
    pub(super) async fn collect(self: &Arc<Self>, call: &Call) -> Result<(), Error> {
        let Some(valid) = &call.valid else {
            return Err(Error::config("GC needs cni.dev/valid-attachments in the configuration"));
        };
        let is_valid = |id: &str, ifname: Option<&str>| {
            valid.iter().any(|one| one.container_id == id && ifname.is_none_or(|ifname| ifname == one.ifname))
        };
        self.collect_states(|stored| {
            let sandbox = stored.sandbox.as_ref().ok()?;
            (!is_valid(&sandbox.container_id, Some(&sandbox.ifname))).then(|| sandbox.container_id.clone())
        })
        .await
    }

    /// Undoes sandboxes that `orphan` finds the container id of, if they are old enough and no call is about them.
    pub(crate) async fn collect_states(
        self: &Arc<Self>,
        orphan: impl Fn(&Stored) -> Option<String>,
    ) -> Result<(), Error> {
        let all =
            self.store.all().map_err(|error| Error::new(code::IO, format!("cannot list state files: {error}")))?;
        self.metrics.sandboxes(all.len());
        let mut errors = Vec::new();
        for stored in all.into_iter().filter(|stored| stored.age >= self.gc_age.max(Duration::from_millis(1))) {
            let Some(id) = orphan(&stored) else { continue };
            let Some(_held) = self.slots.try_hold(&id) else { continue };
            let Ok(sandbox) = stored.sandbox else { continue };
            // A call may have changed it since it was listed.
            match self.store.load(&sandbox.container_id, &sandbox.ifname) {
                Ok(Some(now)) if now == sandbox => {}
                _ => continue,
            }
            let (pod, netns) = (sandbox.pod.to_string(), sandbox.live_netns());
            match self.undo(sandbox, &[], &netns).await {
                Ok(()) => {
                    tracing::warn!(container = id, pod, "orphaned sandbox removed");
                    self.metrics.orphan("state");
                }
                Err(error) => errors.push(error),
            }
        }
        Error::join(errors)
    }
}
