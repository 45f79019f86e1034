//! The components of the control plane and how each is started.

use std::{ffi::OsString, fmt, path::Path, time::Duration};

use crate::{plane::Options, scheduler};

/// A process of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// The kubelets of all nodes.
    Kwok,
}

impl Component {
    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// The ports of one plane, on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) api_server: u16,
    pub(crate) controller_manager: u16,
    pub(crate) scheduler: u16,
    pub(crate) kwok: u16,
}

impl Ports {
    /// The port on which a component answers.
    pub(crate) fn of(&self, component: Component) -> u16 {
        match component {
            Component::Etcd => self.etcd,
            Component::ApiServer => self.api_server,
            Component::ControllerManager => self.controller_manager,
            Component::Scheduler => self.scheduler,
            Component::Kwok => self.kwok,
        }
    }
}

/// Paths that a component's own port answers to anybody.
const OPEN_PATHS: &str = "--authorization-always-allow-paths=/healthz,/livez,/readyz,/metrics";

/// The arguments of a component of the plane in folder `dir`.
pub(crate) fn arguments(component: Component, dir: &Path, ports: &Ports, options: &Options) -> Vec<OsString> {
    let file = |name: &str| dir.join(name).display().to_string();
    let url = |port| format!("http://127.0.0.1:{port}");
    let mut arguments = match component {
        Component::Etcd => vec![
            format!("--data-dir={}", file("etcd")),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={}", url(ports.etcd)),
            format!("--advertise-client-urls={}", url(ports.etcd)),
            format!("--listen-peer-urls={}", url(ports.etcd_peer)),
            format!("--initial-advertise-peer-urls={}", url(ports.etcd_peer)),
            format!("--initial-cluster=default={}", url(ports.etcd_peer)),
            "--quota-backend-bytes=8589934592".to_owned(),
            "--log-level=warn".to_owned(),
        ],
        Component::ApiServer => vec![
            format!("--etcd-servers={}", url(ports.etcd)),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            // A loopback address may not stand in the endpoints of the kubernetes service, and nothing here uses it.
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={}", ports.api_server),
            // Makes its certificate there.
            format!("--cert-dir={}", dir.display()),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("service-account.pub")),
            format!("--service-account-signing-key-file={}", file("service-account.key")),
            format!("--default-not-ready-toleration-seconds={}", options.eviction_after.as_secs()),
            format!("--default-unreachable-toleration-seconds={}", options.eviction_after.as_secs()),
        ],
        Component::ControllerManager => vec![
            format!("--kubeconfig={}", file("controller-manager.kubeconfig")),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", ports.controller_manager),
            format!("--cert-dir={}", file("controller-manager")),
            OPEN_PATHS.to_owned(),
            "--leader-elect=false".to_owned(),
            "--kube-api-qps=5000".to_owned(),
            "--kube-api-burst=5000".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", file("service-account.key")),
            format!("--root-ca-file={}", file("apiserver.crt")),
            "--node-monitor-period=1s".to_owned(),
            format!("--node-monitor-grace-period={}s", grace(options).as_secs()),
            // However many nodes fail at once, their pods are evicted at once.
            "--node-eviction-rate=1000".to_owned(),
            "--secondary-node-eviction-rate=1000".to_owned(),
            "--large-cluster-size-threshold=0".to_owned(),
        ],
        Component::Scheduler => vec![
            format!("--config={}", file(scheduler::FILE)),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", ports.scheduler),
            format!("--cert-dir={}", file("scheduler")),
            OPEN_PATHS.to_owned(),
        ],
        Component::Kwok => vec![
            format!("--kubeconfig={}", file("admin.kubeconfig")),
            format!("--config={}", file("kwok.yaml")),
            format!("--manage-nodes-with-label-selector={}=on", crate::nodes::POWER),
            format!("--node-lease-duration-seconds={}", grace(options).as_secs()),
            format!("--server-address=127.0.0.1:{}", ports.kwok),
            "--cidr=10.244.0.0/16".to_owned(),
            // Else each renewal of a Lease is a line.
            "--v=warn".to_owned(),
        ],
    };
    if component == Component::ApiServer && options.audit.is_some() {
        arguments.push(format!("--audit-policy-file={}", file(crate::files::AUDIT_POLICY)));
        arguments.push(format!("--audit-log-path={}", file("log/audit.log")));
    }
    if let (Component::ApiServer, Some(real)) = (component, &options.real) {
        // Of a flag that is given twice the last one counts.
        arguments.push("--bind-address=0.0.0.0".to_owned());
        arguments.push(format!("--advertise-address={}", real.address));
        arguments.push("--kubelet-preferred-address-types=InternalIP".to_owned());
        arguments.push(format!("--kubelet-client-certificate={}", file("kubelet-client.crt")));
        arguments.push(format!("--kubelet-client-key={}", file("kubelet-client.key")));
    }
    arguments.extend(options.extra.iter().filter(|(of, _)| *of == component).map(|(_, argument)| argument.clone()));
    arguments.into_iter().map(Into::into).collect()
}

/// How long a node may be silent before it counts as not ready. Kwok renews each node's Lease four times in it.
fn grace(options: &Options) -> Duration {
    let nodes: usize = options.racks.iter().map(|rack| rack.nodes).sum();
    // 40 s for 1,000 nodes, as in a real cluster: at most 100 renewals/s.
    options.node_grace.unwrap_or(Duration::from_secs((nodes as u64 / 25).max(6)))
}
