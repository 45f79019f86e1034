//! The scheduler asks an extender, in both forms.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use axum::{Json, Router, extract::State, routing::post};
use galaxy_plane::{Plane, Scheduler, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::workloads::SOON;

type Seen = Arc<Mutex<Option<Value>>>;

async fn filter(State(seen): State<Seen>, Json(request): Json<Value>) -> Json<Value> {
    if let Ok(mut seen) = seen.lock() {
        *seen = Some(request);
    }
    Json(json!({"Error": "only listening"}))
}

pub(crate) async fn both_forms(plane: &Plane) -> Result<()> {
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/v1/filter", post(filter)).with_state(seen.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let pods: Api<Pod> = Api::namespaced(plane.client(), "default");
    for names_only in [true, false] {
        plane.schedule(&Scheduler::with_galaxy(&url, names_only)).await?;
        *seen.lock().map_err(|_| anyhow::anyhow!("poisoned"))? = None;
        let resource = json!({"tke.cloud.tencent.com/eni-ip": "1"});
        let pod = json!({
            "metadata": {"name": "wanting"},
            "spec": {"containers": [{"name": "c", "image": "web:1", "resources": {"requests": resource, "limits": resource}}]},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let request = wait_for("a filter call", SOON, async || {
            seen.lock().ok().and_then(|mut seen| seen.take()).context("none came")
        })
        .await?;
        ensure!(request["Pod"]["metadata"]["name"] == "wanting", "{request}");
        let (names, objects) = (request["NodeNames"].as_array(), request["Nodes"]["items"].as_array());
        ensure!(names.is_some_and(|names| names.len() == 4) == names_only, "names only is {names_only}: {request}");
        ensure!(
            objects.is_some_and(|objects| objects.len() == 4) != names_only,
            "names only is {names_only}: {request}"
        );
        pods.delete("wanting", &DeleteParams::default().grace_period(0)).await?;
        wait_for("the pod to be gone", SOON, async || {
            ensure!(pods.get_opt("wanting").await?.is_none(), "it is still there");
            Ok(())
        })
        .await?;
    }
    server.abort();
    plane.schedule(&Scheduler::default()).await
}
