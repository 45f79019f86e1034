//! What every control loop of the sandbox is built from: caches fed by watches, work queues, an event recorder.
//!
//! The loops are ordinary Kubernetes clients. They compare what is wanted with what is, act on the difference, and start over when
//! anything changes, so a lost answer, a conflict or a broken watch costs a retry and nothing else.

pub mod informer;
pub mod meta;
pub mod pods;
pub mod quantity;
pub mod recorder;
pub mod workqueue;

use std::{fmt::Debug, future::Future, time::Duration};

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::Job,
    core::v1::{Node, Pod},
};
use kube::{Api, Client};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::clock::Clock;
use informer::Informer;
use recorder::Recorder;

/// How long a cache lives before it is listed anew, the bound on the harm of an event that got lost. Real time.
pub const RELIST: Duration = Duration::from_secs(30);

/// What a control loop needs to live: the API, the time, and a way to be stopped.
#[derive(Clone)]
pub struct Context {
    /// The API server, real or embedded.
    pub client: Client,
    /// The time that delays and time stamps follow.
    pub clock: Clock,
    relist: Duration,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Context {
    /// A context whose tasks end with [`Context::shutdown`].
    pub fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock, relist: RELIST, stop: CancellationToken::new(), tasks: TaskTracker::new() }
    }

    /// With caches that are listed anew after so long, in real time.
    #[must_use]
    pub fn with_relist(mut self, relist: Duration) -> Self {
        self.relist = relist;
        self
    }

    /// A context with tasks and an end of its own; the end of this one is also its end.
    pub fn child(&self) -> Self {
        Self { stop: self.stop.child_token(), tasks: TaskTracker::new(), ..self.clone() }
    }

    /// Runs `task` until it ends or the context is shut down.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move { drop(stop.run_until_cancelled(task).await) });
    }

    /// Tells every task to stop.
    pub fn cancel(&self) {
        self.stop.cancel();
    }

    /// Stops every task and waits until all are gone.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The caches that the loops share, so that each event is decoded once.
#[derive(Clone)]
pub struct Caches {
    /// Pods of all namespaces.
    pub pods: Informer<Pod>,
    /// Nodes.
    pub nodes: Informer<Node>,
    /// ReplicaSets of all namespaces.
    pub replica_sets: Informer<ReplicaSet>,
    /// Deployments of all namespaces.
    pub deployments: Informer<Deployment>,
    /// StatefulSets of all namespaces.
    pub stateful_sets: Informer<StatefulSet>,
    /// DaemonSets of all namespaces.
    pub daemon_sets: Informer<DaemonSet>,
    /// Jobs of all namespaces.
    pub jobs: Informer<Job>,
    /// Where loops tell people what they did.
    pub recorder: Recorder,
}

impl Caches {
    /// Starts the watches; they run until `ctx` is shut down.
    pub fn start(ctx: &Context) -> Self {
        fn watch<K>(ctx: &Context) -> Informer<K>
        where
            K: kube::Resource<DynamicType = ()> + Clone + Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
        {
            Informer::start(ctx, Api::all(ctx.client.clone()))
        }
        Self {
            pods: watch(ctx),
            nodes: watch(ctx),
            replica_sets: watch(ctx),
            deployments: watch(ctx),
            stateful_sets: watch(ctx),
            daemon_sets: watch(ctx),
            jobs: watch(ctx),
            recorder: Recorder::start(ctx),
        }
    }

    /// The same caches, with events written by way of `ctx`.
    #[must_use]
    pub fn with_recorder(&self, ctx: &Context) -> Self {
        Self { recorder: Recorder::start(ctx), ..self.clone() }
    }

    /// Returns once pods and nodes have been listed.
    pub async fn synced(&self) {
        self.pods.synced().await;
        self.nodes.synced().await;
    }
}
