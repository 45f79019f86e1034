//! Decisions of the ledger at three sizes, and the memory it takes. `cargo xtask bench`
//!
//! Targets: a filter of 5,000 nodes takes at most 2 ms (99th percentile) whatever the number of addresses; an allocated address
//! takes at most 200 bytes with its indexes, a free one at most a bit, plus the cost of its range.

mod bulk;
mod memory;
mod scene;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use divan::Bencher;
use galaxy_core::IpRange;
use memory::Kept;
use scene::Scene;

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const SAMPLES: usize = 300;
/// How long the samples of a case may take together: slow cases get fewer.
const BUDGET: Duration = Duration::from_secs(6);

/// What is measured, and what has to be there first.
struct Case {
    name: &'static str,
    prepare: fn(&mut Scene),
    run: fn(&mut Scene),
    /// At the 99th percentile.
    target: Option<Duration>,
}

const FILTER: Case =
    Case { name: "filter 5,000 nodes", prepare: |_| {}, run: Scene::filter, target: Some(Duration::from_millis(2)) };

const FILTER_RESERVED: Case =
    Case { name: "filter, immutable Deployment with reservations", prepare: Scene::of_keeper, ..FILTER };

const FILTER_THREE_LISTS: Case =
    Case { name: "filter, three range lists", prepare: |scene| scene.lists(scene.three_lists()), ..FILTER };

const FILTER_EVERYTHING: Case = Case {
    name: "filter, 0.0.0.0~255.255.255.255",
    prepare: |scene| scene.lists(vec![vec![IpRange::all(galaxy_core::Family::V4)]]),
    ..FILTER
};

const FILTER_MANY_RANGES: Case = Case {
    name: "filter, 10,000 ranges, all taken but the last",
    prepare: |scene| scene.lists(vec![scene.many_ranges(10_000)]),
    target: None,
    ..FILTER
};

const BIND: Case = Case { name: "bind", prepare: Scene::filter, run: Scene::bind, target: None };

const RELEASE: Case = Case {
    name: "release",
    prepare: |scene| {
        scene.filter();
        scene.bind();
        scene.bound();
    },
    run: |scene| scene.ledger.pod_gone(scene.now, &scene.pod.uid.clone()),
    target: None,
};

const CASES: [&Case; 7] =
    [&FILTER, &FILTER_RESERVED, &FILTER_THREE_LISTS, &FILTER_EVERYTHING, &FILTER_MANY_RANGES, &BIND, &RELEASE];

impl Case {
    fn bench(&self, bencher: Bencher<'_, '_>, size: usize) {
        let scene = RefCell::new(Scene::new(size));
        bencher
            .with_inputs(|| {
                scene.borrow_mut().next();
                (self.prepare)(&mut scene.borrow_mut());
            })
            .bench_local_values(|()| (self.run)(&mut scene.borrow_mut()));
    }

    /// 50th and 99th percentile in each scene. The scenes take turns, so that they share the machine's fast and slow moments.
    fn percentiles<const N: usize>(&self, scenes: &mut [Scene; N]) -> [(Duration, Duration); N] {
        let mut samples: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::with_capacity(SAMPLES));
        let began = Instant::now();
        for round in 0..SAMPLES {
            if round >= 10 && began.elapsed() >= BUDGET {
                break;
            }
            for (scene, samples) in scenes.iter_mut().zip(&mut samples) {
                samples.push(self.sample(scene));
            }
        }
        samples.map(|mut samples| {
            samples.sort_unstable();
            (samples[samples.len() / 2], samples[samples.len() * 99 / 100])
        })
    }

    /// One run. One that another process interrupted is made again: what it took of the core is not the ledger's.
    fn sample(&self, scene: &mut Scene) -> Duration {
        let mut again = 2;
        loop {
            scene.next();
            (self.prepare)(scene);
            let (slices, start) = (time_slices(), Instant::now());
            (self.run)(scene);
            let took = start.elapsed();
            // A run longer than a slice is always interrupted.
            if again == 0 || slices == time_slices() || took > Duration::from_millis(20) {
                return took;
            }
            again -= 1;
        }
    }
}

/// A member of what the system's scheduler says of this thread; none where the system does not tell.
fn schedstat(member: usize) -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().nth(member)?.parse().ok()
}

/// How often this thread was given a core so far.
fn time_slices() -> Option<u64> {
    schedstat(2)
}

/// How long this thread had a core so far, to a few milliseconds.
fn time_on_core() -> Option<Duration> {
    schedstat(0).map(Duration::from_nanos)
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

fn row(what: &str, size: usize, p50: &str, p99: &str, target: &str, met: &str) {
    println!("| {what:<46} | {size:>9} | {p50:>11} | {p99:>11} | {target:>13} | {met:<6} |");
}

/// The numbers that have targets, in one table.
fn table() {
    let memory = [
        ("resident bytes of an allocated address", Kept::Allocated, 1.0, Some(200.0)),
        ("resident bits of a free address in a range", Kept::Free, 8.0, Some(1.0)),
        ("resident bytes of a run of free addresses", Kept::Run, 1.0, None),
    ];
    println!("| what | addresses | p50 | p99 | target | |");
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    for (what, kept, unit, target) in memory {
        let Some(value) = kept.bytes().map(|bytes| bytes * unit) else { continue };
        let met = target.map_or("", |target| verdict(value <= target));
        row(
            what,
            kept.count(),
            &format!("{value:.1}"),
            "",
            &target.map_or_else(String::new, |t| format!("≤ {t}")),
            met,
        );
    }
    let mut scenes = SIZES.map(Scene::new);
    let mut flat = Vec::new();
    for case in CASES {
        let percentiles = case.percentiles(&mut scenes);
        for (size, (p50, p99)) in SIZES.into_iter().zip(percentiles) {
            let target = case.target.map_or_else(String::new, |t| format!("≤ {t:?}"));
            let met = case.target.map_or("", |target| verdict(p99 <= target));
            row(case.name, size, &format!("{p50:.1?}"), &format!("{p99:.1?}"), &target, met);
        }
        if case.target.is_some() {
            let [(least, _), _, (most, _)] = percentiles;
            flat.push((case.name, most.as_secs_f64() / least.as_secs_f64()));
        }
    }
    for (name, ratio) in flat {
        let what = format!("{} against {} addresses", SIZES[2], SIZES[0]);
        println!("{name}: {what}: {ratio:.2}× (≤ 1.2×: {})", verdict(ratio <= 1.2));
    }
    println!();
}

fn main() {
    if memory::is_asked() {
        return;
    }
    // `cargo test` runs benchmarks once, to see that they run; who names a benchmark wants that one only.
    if std::env::args().skip(1).eq(["--bench"]) {
        table();
        bulk::table();
    }
    divan::main();
}

macro_rules! benches {
    ($($function:ident: $case:ident),* $(,)?) => {
        $(#[divan::bench(args = SIZES, sample_size = 1, sample_count = 100)]
        fn $function(bencher: Bencher<'_, '_>, addresses: usize) {
            $case.bench(bencher, addresses);
        })*
    };
}

benches! {
    filter: FILTER,
    filter_reserved: FILTER_RESERVED,
    filter_three_lists: FILTER_THREE_LISTS,
    filter_everything: FILTER_EVERYTHING,
    filter_many_ranges: FILTER_MANY_RANGES,
    bind: BIND,
    release: RELEASE,
}

/// What a new leader does with the quorum list of 200,000 FloatingIPs.
#[divan::bench(sample_size = 1, sample_count = 5)]
fn load_200_000_records(bencher: Bencher<'_, '_>) {
    let scene = RefCell::new(Scene::new(400_000));
    bencher.with_inputs(|| scene::half(400_000)).bench_local_values(|records| {
        let scene = &mut *scene.borrow_mut();
        scene.ledger.load(scene.now, records);
    });
}
