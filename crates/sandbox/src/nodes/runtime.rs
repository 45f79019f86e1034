//! What a kubelet leaves to a container runtime.

use std::fmt::Debug;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;

/// Makes what pods run in. Without one, pods are made up.
pub trait Runtime: Debug + Send + Sync {
    /// Makes a pod's sandbox on a node; one that is there is left as it is.
    ///
    /// # Errors
    /// Why it cannot be made now. The kubelet tries again.
    fn run_sandbox<'a>(&'a self, pod: &'a Pod, node: &'a str) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Takes away the sandbox of the pod with this uid; one that is gone is no error.
    ///
    /// # Errors
    /// Why it cannot be taken away now. The kubelet tries again.
    fn stop_sandbox<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Takes power from a node, and with it all that runs there, or gives it power again.
    ///
    /// # Errors
    /// The node does not come up.
    fn power<'a>(&'a self, node: &'a str, on: bool) -> BoxFuture<'a, anyhow::Result<()>>;
}
