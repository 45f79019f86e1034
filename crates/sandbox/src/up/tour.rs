//! The guide: announces a step, does what kubectl would do, waits for what was promised and shows what there is.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use galaxy_api::floatingip::State;
use http::Method;
use kube::Client;
use serde_json::Value;

use super::{
    answers::Answers,
    compare::{self, Scope},
    hands::{Hands, Kind},
    http as web,
    screen::{Screen, Style, wrap},
    snapshot::Snapshot,
    world::World,
};

/// How long a promise may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(40);
/// How wide sentences get.
const WIDTH: usize = 104;

/// What this is.
const ABOUT: &str = "This process is a small Kubernetes cluster: an API server, a scheduler, controllers and six nodes. galaxy-ipam \
                     works on it as on any cluster. Each node routes a subnet of addresses for pods. After every step a table shows who \
                     has which address and why: fresh is one that was free.";

/// What more there is with root.
const REAL: &str = "Each node is a network namespace with the agent galaxy in it, and so is each pod, with a web server in it. Before a promise \
                    counts as kept, every pod must answer ping and HTTP on its addresses from the network between the nodes.";

/// What a promise says of the world before and now; the error tells what is not so yet.
pub(super) type Verdict = Result<(), String>;

/// A tour under way.
pub(super) struct Tour<'a> {
    pub(super) world: &'a World,
    screen: &'a Screen,
    client: Client,
    hands: Hands,
    step: usize,
    scope: Scope,
    before: Snapshot,
    /// Promises so far, and how many of them were not kept.
    pub(super) promises: usize,
    pub(super) broken: usize,
}

impl<'a> Tour<'a> {
    pub(super) fn new(world: &'a World, screen: &'a Screen) -> Self {
        let client = world.client();
        let hands = Hands::new(client.clone());
        let (scope, before) = Default::default();
        Self { world, screen, client, hands, step: 0, scope, before, promises: 0, broken: 0 }
    }

    /// Begins a step about these workloads and pools.
    pub(super) async fn step(
        &mut self,
        title: &str,
        apps: &[&'static str],
        pools: &[&'static str],
    ) -> anyhow::Result<()> {
        self.step += 1;
        self.scope = Scope { apps: apps.to_vec(), pools: pools.to_vec() };
        self.before = Snapshot::take(&self.client).await?;
        self.screen.line(self.screen.styled(Style::Title, format!("{:>2}  {title}", self.step)));
        Ok(())
    }

    /// What was there at the last table.
    pub(super) fn before(&self) -> &Snapshot {
        &self.before
    }

    /// Says something.
    pub(super) fn say(&self, text: &str) {
        for line in wrap(text, WIDTH) {
            self.screen.line(format!("    {line}"));
        }
    }

    fn command(&self, command: &str) {
        self.screen.line(format!("    $ {command}"));
    }

    /// `kubectl apply -f examples/FILE`.
    pub(super) async fn apply(&self, file: &str) -> anyhow::Result<()> {
        self.command(&format!("kubectl apply -f examples/{file}"));
        self.hands.apply(file).await
    }

    /// `kubectl delete KIND NAME`.
    pub(super) async fn delete(&self, kind: Kind, name: &str) -> anyhow::Result<()> {
        self.command(&format!("kubectl delete {} {name}", kind.word()));
        self.hands.delete(kind, name).await
    }

    /// `kubectl scale KIND NAME --replicas=N`.
    pub(super) async fn scale(&self, kind: Kind, name: &str, replicas: u32) -> anyhow::Result<()> {
        self.command(&format!("kubectl scale {} {name} --replicas={replicas}", kind.word()));
        self.hands.scale(kind, name, replicas).await
    }

    /// `kubectl set image KIND/NAME nginx=IMAGE`.
    pub(super) async fn set_image(&self, kind: Kind, name: &str, image: &str) -> anyhow::Result<()> {
        self.command(&format!("kubectl set image {}/{name} nginx={image}", kind.word()));
        self.hands.set_image(kind, name, "nginx", image).await
    }

    /// Says that a node is off for good, or takes it back.
    pub(super) async fn out_of_service(&self, node: &str, taint: bool) -> anyhow::Result<()> {
        let (value, remove) = if taint { ("=nodeshutdown:NoExecute", "") } else { ("", "-") };
        self.command(&format!("kubectl taint node {node} node.kubernetes.io/out-of-service{value}{remove}"));
        self.hands.out_of_service(node, taint).await
    }

    /// Pulls the plug of a node.
    pub(super) fn power_off(&self, node: &str) {
        self.say(&format!("(somebody pulls the plug of {node})"));
        self.world.power_off(node);
    }

    /// Gives it power again.
    pub(super) fn power_on(&self, node: &str) {
        self.say(&format!("({node} gets power again)"));
        self.world.power_on(node);
    }

    /// Asks a pod by HTTP from the underlay who it is, where pods are real.
    pub(super) async fn ask_pod(&self, ip: IpAddr) -> anyhow::Result<()> {
        if let Some(underlay) = self.world.underlay() {
            self.command(&format!("curl http://{ip}/"));
            self.say(underlay.get(ip).await?.trim());
        }
        Ok(())
    }

    /// A GET of galaxy-ipam's HTTP API.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.command(&format!("curl \"$GALAXY{path}\""));
        web::request(Method::GET, &format!("{}{path}", self.world.api_url()), None).await
    }

    /// A POST to it.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.command(&format!("curl -H 'Content-Type: application/json' -d '{body}' \"$GALAXY{path}\""));
        web::request(Method::POST, &format!("{}{path}", self.world.api_url()), Some(body)).await
    }

    /// States a promise, waits until it holds or time is up, and shows the table. The next promise compares with what is there then.
    pub(super) async fn promise(
        &mut self,
        promise: &str,
        kept: impl Fn(&Snapshot, &Snapshot) -> Verdict,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        self.announce(promise);
        let (now, answers, verdict) = loop {
            let now = Snapshot::take(&self.client).await?;
            let late = start.elapsed() > PATIENCE;
            let verdict = kept(&self.before, &now).and_then(|()| consistent(&now, self.world));
            if verdict.is_ok() || late {
                let answers = Answers::ask(self.world, &now).await;
                let verdict = verdict.and_then(|()| answers.verdict());
                if verdict.is_ok() || late {
                    break (now, answers, verdict);
                }
            }
            tokio::time::sleep(LOOK).await;
        };
        let rows = compare::rows(&self.before, &now, &self.scope);
        match self.world.underlay() {
            None => self.table(["POD", "NODE", "IP", "WHY"], &rows),
            Some(_) => {
                let rows: Vec<_> = rows.into_iter().map(|row| answers.beside(row)).collect();
                self.table(["POD", "NODE", "IP", "ANSWERS", "WHY"], &rows);
            }
        }
        self.judge(verdict, Some(start.elapsed()));
        self.before = now;
        Ok(())
    }

    /// States a promise about something that is known already.
    pub(super) fn claim(&mut self, promise: &str, verdict: Verdict) {
        self.announce(promise);
        self.judge(verdict, None);
    }

    /// Shows a table, if it has rows.
    pub(super) fn table<const N: usize>(&self, heading: [&str; N], rows: &[[String; N]]) {
        if !rows.is_empty() {
            self.screen.line("");
            self.screen.table(heading, rows);
            self.screen.line("");
        }
    }

    fn announce(&mut self, promise: &str) {
        self.promises += 1;
        self.say(&format!("Promised: {promise}"));
    }

    fn judge(&mut self, verdict: Verdict, took: Option<Duration>) {
        let after = took.map_or(String::new(), |took| format!(" (after {:.1} s)", took.as_secs_f64()));
        match verdict {
            Ok(()) => self.screen.line(format!("    {}{after}", self.screen.styled(Style::Good, "as promised"))),
            Err(lacking) => {
                self.broken += 1;
                self.screen.line(format!("    {}{after}", self.screen.styled(Style::Bad, "NOT as promised")));
                self.say(&lacking);
            }
        }
        self.screen.line("");
    }

    /// A step that could not be taken.
    pub(super) fn failed(&mut self, error: &anyhow::Error) {
        // The rest of what kube prints of it says the same again.
        let text = match error.downcast_ref() {
            Some(kube::Error::Api(status)) => status.message.clone(),
            _ => format!("{error:#}"),
        };
        self.claim("the step can be taken.", Err(text));
    }
}

/// What must hold at any time: an address has one pod, its object says which, and the pod's node can route it.
fn consistent(now: &Snapshot, world: &World) -> Verdict {
    let mut seen = std::collections::BTreeMap::new();
    for pod in now.pods.iter().filter(|pod| pod.node.is_some()) {
        for &ip in &pod.ips {
            if let Some(other) = seen.insert(ip, &pod.name) {
                return Err(format!("{ip} belongs to {other} and to {}", pod.name));
            }
            let object = now.addresses.get(&ip);
            let owner = object.filter(|it| it.state == State::Bound).and_then(|it| it.pod.as_ref());
            if owner.is_none_or(|owner| owner.uid != pod.uid) {
                return Err(format!("{} has {ip}, and the FloatingIP object does not say so: {object:?}", pod.name));
            }
            let place = world.places().iter().find(|place| Some(&place.node) == pod.node.as_ref());
            if !place.is_some_and(|place| routes(place.rack, ip)) {
                return Err(format!("{} has {ip} on {:?}, which cannot route it", pod.name, pod.node));
            }
        }
    }
    Ok(())
}

/// Which rack routes what, as `examples/floatingip-config.yaml` says.
fn routes(rack: u8, ip: IpAddr) -> bool {
    let third = if rack == 3 { 3 } else { 0 };
    matches!(ip, IpAddr::V4(ip) if ip.octets()[..3] == [10, 0, third])
}

/// The first lines: where we are.
pub(super) fn welcome(screen: &Screen, world: &World) {
    screen.line(screen.styled(Style::Title, "Galaxy: floating IPs for Kubernetes pods"));
    screen.line("");
    for line in wrap(ABOUT, WIDTH) {
        screen.line(format!("    {line}"));
    }
    for text in world.underlay().map(|_| REAL).into_iter().chain(world.left_out()) {
        for line in wrap(text, WIDTH) {
            screen.line(format!("    {line}"));
        }
    }
    screen.line("");
    let rows: Vec<_> = world
        .places()
        .iter()
        .map(|place| {
            let subnet = if place.rack == 3 { "10.0.3.0/24, VLAN 3" } else { "10.0.0.0/24" };
            [place.node.clone(), place.ip.to_string(), subnet.to_owned()]
        })
        .collect();
    screen.table(["NODE", "ADDRESS", "ROUTES FOR PODS"], &rows);
    screen.line("");
}

/// The last lines: what to try next.
pub(super) fn addresses(screen: &Screen, world: &World) {
    let (api, kubeconfig) = (world.api_url(), world.kubeconfig().display().to_string());
    let rows = [
        ("HTTP API", format!("{api}/v1/ip")),
        ("Swagger UI", format!("{api}/swagger-ui/")),
        ("Metrics", format!("{api}/metrics")),
        ("Scheduler extender", world.extender_url()),
        ("Kubernetes API", world.kube_url()),
        ("kubeconfig", kubeconfig.clone()),
    ];
    for (what, place) in rows {
        screen.line(format!("    {what:<20}{place}"));
    }
    screen.line("");
    screen.line("    To look around, in another terminal:");
    screen.line("");
    screen.line(format!("    export KUBECONFIG={kubeconfig} GALAXY={api}"));
    screen.line("    kubectl get pods,floatingips -o wide");
    screen.line("    curl \"$GALAXY/v1/ip?namespace=default\"");
    if let Some(underlay) = world.underlay() {
        screen.line("");
        screen.line("    To reach pods as their neighbours do, as root:");
        screen.line("");
        screen.line(format!("    nsenter --net={} curl http://ADDRESS/", underlay.path().display()));
    }
    screen.line("");
    screen.line("    Up until Ctrl-C.");
}
