//! The ledger against everything that can happen, with a naive reference model looking on.
//!
//! A case is a world of a dozen addresses and a list of steps. After each step the ledger checks itself
//! (`check_invariants`), and [`oracle`] checks what a user was promised against the fake API. At the end of a case
//! [`rest`] lets everything come to rest: nothing may have leaked, and nobody may sleep who could be served.
//!
//! `GALAXY_MODEL_SEED` and `GALAXY_MODEL_CASES` (numbers) run other cases; a failure prints the seed of its case and a short
//! list of steps that fails in the same way, with `GALAXY_MODEL_TRACE` also what they did.

#[path = "../world/mod.rs"]
mod world;

mod calls;
mod delivery;
mod naive;
mod oracle;
mod rest;
mod sim;
mod steps;
mod users;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Steps of one case.
const STEPS: usize = 320;
const CASES: u64 = 640;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")))
}

thread_local! {
    /// Where this thread's last panic was, and what it said.
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    /// Whether panics of this thread are only remembered: shortening a failure makes hundreds of them.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn remember_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                return print(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let text = info.payload_as_str().unwrap_or_default().to_owned();
            PANIC.with(|panic| *panic.borrow_mut() = Some((place, text)));
        }));
    });
}

/// Runs one case; how many steps it took, or where it failed and why.
fn play(case: &steps::Case) -> Result<usize, (String, String)> {
    QUIET.set(true);
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut sim = sim::Sim::new(&case.start);
        case.steps.iter().for_each(|step| sim.take(step));
        sim.rest();
    }));
    QUIET.set(false);
    let panic = PANIC.with(|panic| panic.borrow_mut().take()).unwrap_or_default();
    played.map(|()| case.steps.len()).map_err(|_| panic)
}

/// Leaves out steps, in ever smaller pieces, as long as the case fails at the same place.
fn shorten(mut case: steps::Case, place: &str) -> steps::Case {
    let fails = |case: &steps::Case| play(case).is_err_and(|(other, _)| other == place);
    let mut piece = case.steps.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < case.steps.len() {
            let mut shorter = case.clone();
            shorter.steps.drain(at..(at + piece).min(shorter.steps.len()));
            if fails(&shorter) {
                case = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    case
}

fn run(seeds: impl Iterator<Item = u64>) -> usize {
    remember_panics();
    let mut taken = 0;
    for seed in seeds {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let case = steps::case(STEPS).new_tree(&mut runner).expect("any values will do").current();
        match play(&case) {
            Ok(steps) => taken += steps,
            Err((place, why)) => {
                let case = shorten(case, &place);
                if std::env::var_os("GALAXY_MODEL_TRACE").is_some() {
                    trace(&case);
                }
                panic!("GALAXY_MODEL_SEED={seed} GALAXY_MODEL_CASES=1: {place}: {why}\n{case:?}");
            }
        }
    }
    taken
}

/// Prints what a shortened case does to the ledger.
fn trace(case: &steps::Case) {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut sim = sim::Sim::new(&case.start);
        for step in &case.steps {
            sim.take(step);
            println!("{step:?}");
            sim.print();
        }
        println!("at rest:");
        sim.rest();
    }));
    println!("{}", if played.is_ok() { "passed" } else { "failed" });
}

/// Half of the cases, so that two cores share the work.
fn half(odd: u64) {
    let first = number("GALAXY_MODEL_SEED").unwrap_or(1);
    let cases = number("GALAXY_MODEL_CASES").unwrap_or(CASES);
    let taken = run((first..first + cases).filter(|seed| seed % 2 == odd));
    println!("{taken} steps");
    assert!(cases < CASES || taken >= 100_000, "too few steps to mean anything: {taken}");
}

#[test]
fn whatever_happens_even_seeds() {
    half(0);
}

#[test]
fn whatever_happens_odd_seeds() {
    half(1);
}
