//! What can happen, as data: proptest makes lists of it and shortens those that fail.

use galaxy_core::ReleasePolicy;
use proptest::collection::vec;
use proptest::prelude::*;

/// A case: how the world starts, and what happens.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) start: Start,
    pub(crate) steps: Vec<Step>,
}

/// How the world starts.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) cloud: bool,
    /// Two Deployments: policy, replicas, strategy, in the pool `blue`.
    pub(crate) deployments: [(ReleasePolicy, u32, u8, bool); 2],
    /// Two StatefulSets and one custom workload: policy, replicas, in the pool, with range lists.
    pub(crate) numbered: [(ReleasePolicy, u32, bool, u8); 3],
    /// Pool object: size, pre-allocate.
    pub(crate) pool: Option<(Option<u32>, bool)>,
    /// Neither Pool nor Deployments nor the configuration change: limits are exact.
    pub(crate) stable: bool,
}

/// How an operation on the API, or a Binding, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    /// Done, but the answer is lost.
    AnswerLost,
    /// The answer is lost; it may be done later, or never.
    Late,
    /// A definite refusal.
    Refused,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    NotReady,
    Ready,
    OutOfService,
    Gone,
    Back,
}

/// One thing that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    // Controllers, kubelets and their owners.
    Controllers,
    Roll(u8),
    Replicas(u8, u8),
    Strategy(u8, u8),
    Redeploy(u8),
    Renumber(u8),
    Bare(u8),
    Delete(u8),
    ForceDelete(u8),
    Finish(u8),
    Kubelet(u8),
    Node(u8, Turn),
    Pool(Option<(Option<u32>, bool)>),
    // The scheduler.
    Schedule(u8, u8, bool),
    ScheduleOn(u8, u8),
    GiveUp(u8),
    Poll(u8),
    Join(u8, u8),
    Binding(u8, Fate),
    LandBinding(u8),
    // The wire.
    Op(u8, Fate),
    LandOp(u8),
    Deliver(u8),
    DeliverAll,
    Replay(u8),
    Relist,
    Prove,
    // People.
    Label(u8),
    Unlabel(u8),
    Reserve(u8),
    DeleteObject(u8),
    TouchObject(u8),
    Release(u8),
    Configure(u8),
    // Time.
    Pass(u8),
    Sweep,
    // galaxy-ipam itself.
    Crash(u8),
    Resign,
    Lead,
}

fn policy() -> impl Strategy<Value = ReleasePolicy> {
    prop_oneof![
        1 => Just(ReleasePolicy::Default),
        3 => Just(ReleasePolicy::Immutable),
        2 => Just(ReleasePolicy::Never),
    ]
}

fn pool() -> impl Strategy<Value = Option<(Option<u32>, bool)>> {
    proptest::option::of((proptest::option::weighted(0.8, 0..5_u32), any::<bool>()))
}

fn start() -> impl Strategy<Value = Start> {
    let deployment = || (policy(), 0..4_u32, 0..6_u8, proptest::bool::weighted(0.25));
    let numbered = || (policy(), 0..4_u32, proptest::bool::weighted(0.25), 0..8_u8);
    let parts = (
        proptest::bool::weighted(0.3),
        [deployment(), deployment()],
        [numbered(), numbered(), numbered()],
        pool(),
        proptest::bool::weighted(0.4),
    );
    parts.prop_map(|(cloud, deployments, numbered, pool, stable)| Start { cloud, deployments, numbered, pool, stable })
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![12 => Just(Fate::Done), 2 => Just(Fate::AnswerLost), 2 => Just(Fate::Late), 1 => Just(Fate::Refused)]
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => Just(Turn::NotReady),
        3 => Just(Turn::Ready),
        1 => Just(Turn::OutOfService),
        1 => Just(Turn::Gone),
        2 => Just(Turn::Back),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let n = any::<u8>;
    let cluster = prop_oneof![
        20 => Just(Step::Controllers),
        3 => n().prop_map(Step::Roll),
        4 => (n(), n()).prop_map(|(which, to)| Step::Replicas(which, to)),
        1 => (n(), n()).prop_map(|(which, to)| Step::Strategy(which, to)),
        1 => n().prop_map(Step::Redeploy),
        1 => n().prop_map(Step::Renumber),
        3 => n().prop_map(Step::Bare),
        6 => n().prop_map(Step::Delete),
        3 => n().prop_map(Step::ForceDelete),
        2 => n().prop_map(Step::Finish),
        16 => n().prop_map(Step::Kubelet),
        4 => (n(), turn()).prop_map(|(which, turn)| Step::Node(which, turn)),
        1 => pool().prop_map(Step::Pool),
    ];
    let scheduler = prop_oneof![
        24 => (n(), n(), any::<bool>()).prop_map(|(pod, node, at_once)| Step::Schedule(pod, node, at_once)),
        3 => (n(), n()).prop_map(|(pod, nodes)| Step::ScheduleOn(pod, nodes)),
        1 => n().prop_map(Step::GiveUp),
        24 => n().prop_map(Step::Poll),
        1 => (n(), n()).prop_map(|(pod, node)| Step::Join(pod, node)),
        16 => (n(), fate()).prop_map(|(which, fate)| Step::Binding(which, fate)),
        2 => n().prop_map(Step::LandBinding),
    ];
    let wire = prop_oneof![
        40 => (n(), fate()).prop_map(|(which, fate)| Step::Op(which, fate)),
        2 => n().prop_map(Step::LandOp),
        40 => n().prop_map(Step::Deliver),
        6 => Just(Step::DeliverAll),
        4 => n().prop_map(Step::Replay),
        1 => Just(Step::Relist),
        4 => Just(Step::Prove),
    ];
    let people = prop_oneof![
        1 => n().prop_map(Step::Label),
        2 => n().prop_map(Step::Unlabel),
        1 => n().prop_map(Step::Reserve),
        2 => n().prop_map(Step::DeleteObject),
        2 => n().prop_map(Step::TouchObject),
        3 => n().prop_map(Step::Release),
        1 => n().prop_map(Step::Configure),
    ];
    let time = prop_oneof![6 => n().prop_map(Step::Pass), 2 => Just(Step::Sweep)];
    let ipam = prop_oneof![2 => n().prop_map(Step::Crash), 1 => Just(Step::Resign), 2 => Just(Step::Lead)];
    prop_oneof![60 => cluster, 70 => scheduler, 95 => wire, 8 => people, 12 => time, 3 => ipam]
}

/// Cases of about this many steps.
pub(crate) fn case(steps: usize) -> impl Strategy<Value = Case> {
    (start(), vec(step(), steps)).prop_map(|(start, steps)| Case { start, steps })
}
