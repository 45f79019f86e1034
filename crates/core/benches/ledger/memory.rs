//! Resident memory of what the ledger keeps, as the system counts it: with the allocator's overhead and waste. Each number is
//! taken in a process of its own, where nothing was freed before that could be used again.

use std::process::Command;

use galaxy_core::FreeSet;
use galaxy_core::ledger::*;

use crate::scene::{address, record, topology};

/// Resident bytes of this process; none where the system does not tell.
fn resident() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096.0)
}

/// What `make` adds to the resident memory, in bytes.
fn growth<T>(make: impl FnOnce() -> T) -> Option<f64> {
    let before = resident()?;
    let made = make();
    let after = resident()?;
    drop(made);
    Some(after - before)
}

/// How a process of its own is told what to take.
const FLAG: &str = "--resident-bytes-of=";

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) enum Kept {
    /// An address of a pod that is not known, with every index.
    Allocated,
    /// A free address among neighbours.
    Free,
    /// A free address without neighbours.
    Run,
}

impl Kept {
    const ALL: [Kept; 3] = [Kept::Allocated, Kept::Free, Kept::Run];

    fn flag(self) -> String {
        format!("{FLAG}{}", self as usize)
    }

    pub(crate) fn count(self) -> usize {
        if matches!(self, Kept::Run) { 500_000 } else { 1_000_000 }
    }

    fn measure(self) -> Option<f64> {
        let count = self.count();
        let new = || {
            let mut ledger = Ledger::new(Settings::default());
            ledger.configure(Time(0), topology(count));
            ledger
        };
        let grown = match self {
            // The first one brings in what does not depend on the number of addresses.
            Kept::Free => new().topology().and_then(|_| growth(new)),
            Kept::Allocated => growth(|| {
                let mut ledger = new();
                // One by one, so that no list of a million records is counted with it.
                for n in 0..count {
                    ledger.address_observed(Time(0), record(address(n % 20, n / 20), n as u64));
                }
                assert_eq!(ledger.stats().states[0], count);
                ledger
            }),
            Kept::Run => growth(|| {
                let mut set = FreeSet::new();
                (0..count).for_each(|n| assert!(set.insert(address(n / 25_000, n % 25_000 * 2))));
                set
            }),
        };
        Some(grown? / count as f64)
    }

    /// Bytes of one, taken in a process of its own; none where the system does not tell.
    pub(crate) fn bytes(self) -> Option<f64> {
        let output = Command::new(std::env::current_exe().ok()?).arg(self.flag()).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    }
}

/// True if this process was started to take one number, which it has printed.
pub(crate) fn is_asked() -> bool {
    let asked = std::env::args().nth(1).filter(|arg| arg.starts_with(FLAG));
    let Some(kept) = Kept::ALL.into_iter().find(|kept| Some(kept.flag()) == asked) else { return asked.is_some() };
    if let Some(bytes) = kept.measure() {
        println!("{bytes}");
    }
    true
}
