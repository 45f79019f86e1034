//! Watches: the initial state where asked for, then every change, until the client goes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Status,
    api::{Api, Op, Reply, served},
    calls::Call,
    faults::EventAction,
    form::Form,
    object::{self, Object},
    read::Selection,
    resource::Resource,
    store::{Change, Event},
};

/// Between two bookmarks of an otherwise silent watch.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// A watch that has been accepted.
pub(super) struct Watch {
    api: Arc<Api>,
    pub(super) resource: Arc<Resource>,
    call: Call,
    namespace: Option<String>,
    selection: Selection,
    initial: Vec<Object>,
    /// 410 if the history does not reach back to where it should start.
    start: Result<(), Status>,
    /// Whether a bookmark marks the end of the initial events.
    mark_initial: bool,
    bookmarks: bool,
    timeout: Option<Duration>,
    /// The newest revision that has been looked at.
    last: u64,
}

impl Op<'_> {
    pub(super) fn watch(&mut self) -> Result<Reply, Status> {
        let params = &self.request.params;
        let selection = self.selection()?;
        let bookmarks = params.flag("allowWatchBookmarks");
        let streaming_list = params.flag("sendInitialEvents");
        if !params.get("sendInitialEvents").is_empty() && params.get("resourceVersionMatch") != "NotOlderThan" {
            return Err(Status::new(
                422,
                "Invalid",
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires resourceVersionMatch=NotOlderThan",
            ));
        }
        let seconds = params.number("timeoutSeconds")?;
        let version = params.get("resourceVersion").to_string();
        let no_initial = params.get("sendInitialEvents") == "false";
        let (initial, last) = if streaming_list || (matches!(version.as_str(), "" | "0") && !no_initial) {
            // A streaming list at "" is a consistent read, a plain watch starts from the cache.
            let from = if streaming_list { version.as_str() } else { "0" };
            self.snapshot(from, false)?
        } else if no_initial && matches!(version.as_str(), "" | "0") {
            (Vec::new(), self.store.cached_revision(&self.resource.storage))
        } else {
            let from = version
                .parse()
                .map_err(|_| Status::bad_request(format!("resourceVersion {version:?} is not a number")))?;
            (Vec::new(), from)
        };
        Ok(Reply::Watch(Box::new(Watch {
            api: self.api.clone(),
            resource: self.resource.clone(),
            call: self.request.call.clone(),
            namespace: self.request.target.namespace.clone(),
            selection,
            start: self.store.collection(&self.resource.storage).check_start(last),
            initial,
            mark_initial: streaming_list && bookmarks,
            bookmarks,
            timeout: (seconds > 0).then(|| Duration::from_secs(seconds)),
            last,
        })))
    }
}

/// Why a watch ends.
enum End {
    Done,
    Error(Status),
}

impl Watch {
    /// Sends the events as lines of JSON until the client goes, the time is over or the server stops.
    pub(super) async fn run(self, form: Form, sink: mpsc::Sender<Bytes>) {
        let api = self.api.clone();
        let stop = api.stop.clone();
        let mut epoch = api.watch_epoch.subscribe();
        let clock = api.clock.clone();
        let timeout = self.timeout;
        let time_is_up = async move {
            match timeout {
                Some(timeout) => clock.sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let closed = sink.clone();
        tokio::select! {
            () = self.feed(form, &sink) => {}
            () = time_is_up => {}
            () = stop.cancelled() => {}
            _ = epoch.changed() => {}
            () = closed.closed() => {}
        }
    }

    async fn feed(mut self, form: Form, sink: &mpsc::Sender<Bytes>) {
        let mut out = Out { resource: self.resource.clone(), form, sink, first: true };
        match self.feed_until_end(&mut out).await {
            End::Done => {}
            End::Error(status) => out.line("ERROR", &status.to_json()).await,
        }
    }

    async fn feed_until_end(&mut self, out: &mut Out<'_>) -> End {
        // An error of the start is an event of the stream, as a real server's watch cache has it.
        if let Err(status) = std::mem::replace(&mut self.start, Ok(())) {
            return End::Error(status);
        }
        let mut pulse = self.api.store().collection(&self.resource.storage).subscribe();
        for stored in std::mem::take(&mut self.initial) {
            let object = served(&self.resource, &stored);
            if self.selection.matches(&object)
                && let Err(end) = self.deliver("ADDED", &object, out).await
            {
                return end;
            }
        }
        if self.mark_initial {
            out.bookmark(self.last, true).await;
        }
        let mut bookmarked = self.last;
        loop {
            pulse.borrow_and_update();
            let (events, seen) = {
                let mut store = self.api.store();
                let seen = store.cached_revision(&self.resource.storage);
                match store.collection(&self.resource.storage).since(self.last) {
                    Ok(events) => (events, seen),
                    Err(status) => return End::Error(status),
                }
            };
            for event in &events {
                if let Some((kind, object)) = self.translate(event)
                    && let Err(end) = self.deliver(kind, &object, out).await
                {
                    return end;
                }
                self.last = event.revision;
            }
            // Nothing else happened here up to `seen`; a bookmark may say so.
            self.last = self.last.max(seen);
            loop {
                tokio::select! {
                    changed = pulse.changed() => {
                        if changed.is_err() {
                            return End::Done;
                        }
                        break;
                    }
                    () = self.api.clock.sleep(BOOKMARK_PERIOD), if self.bookmarks => {
                        if bookmarked < self.last {
                            bookmarked = self.last;
                            out.bookmark(self.last, false).await;
                        }
                    }
                }
            }
        }
    }

    /// What this watch makes of a change: an object that begins or ceases to be selected appears as added or deleted.
    fn translate(&self, event: &Event) -> Option<(&'static str, Object)> {
        if let Some(namespace) = &self.namespace
            && object::namespace(&event.object) != namespace
        {
            return None;
        }
        let new = served(&self.resource, &event.object);
        let now = event.change != Change::Deleted && self.selection.matches(&new);
        let before = event.old.as_ref().is_some_and(|old| self.selection.matches(&served(&self.resource, old)));
        match (before, now) {
            (false, true) => Some(("ADDED", new)),
            (true, true) => Some(("MODIFIED", new)),
            (true, false) => {
                // The last state that was selected, at the revision of the change.
                let mut last =
                    event.old.as_ref().map_or_else(|| (*new).clone(), |old| (*served(&self.resource, old)).clone());
                object::meta_mut(&mut last).insert("resourceVersion".into(), event.revision.to_string().into());
                Some(("DELETED", Arc::new(last)))
            }
            (false, false) => None,
        }
    }

    async fn deliver(&self, kind: &str, object: &Object, out: &mut Out<'_>) -> Result<(), End> {
        let call = Call {
            namespace: object::namespace(object).to_string(),
            name: object::name(object).to_string(),
            ..self.call.clone()
        };
        match self.api.faults.on_event(&call, object) {
            None => {}
            Some(EventAction::Drop) => return Ok(()),
            Some(EventAction::Duplicate) => out.event(kind, object).await,
            Some(EventAction::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(EventAction::Hold(gate)) => gate.pass().await,
            Some(EventAction::Close) => return Err(End::Done),
            Some(EventAction::Expire) => {
                return Err(End::Error(Status::expired("too old resource version: injected fault")));
            }
        }
        out.event(kind, object).await;
        Ok(())
    }
}

/// The wire side of a watch.
struct Out<'a> {
    resource: Arc<Resource>,
    form: Form,
    sink: &'a mpsc::Sender<Bytes>,
    /// A table's columns come with the first event only.
    first: bool,
}

impl Out<'_> {
    async fn event(&mut self, kind: &str, object: &Object) {
        let shown = self.form.event(&self.resource, object, self.first);
        self.first = false;
        self.line(kind, &shown).await;
    }

    async fn bookmark(&mut self, revision: u64, end_of_initial: bool) {
        let mut object = json!({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
        });
        if end_of_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let shown = self.form.bookmark(object);
        self.line("BOOKMARK", &shown).await;
    }

    async fn line(&mut self, kind: &str, object: &Value) {
        let mut line = json!({"type": kind, "object": object}).to_string();
        line.push('\n');
        // A client that is gone ends the watch elsewhere.
        let _ = self.sink.send(line.into()).await;
    }
}
