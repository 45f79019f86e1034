//! `cargo xtask test`: everything that must hold before a change lands.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ExitCode, Stdio},
};

use anyhow::{Context, Result};

use crate::{cargo, generate, libtest::Counts, require};

/// Runs all checks and all tests, also after one of them failed; the last line sums up the tests.
///
/// A check that is no test counts as one failed test when it fails, so that the line never hides it.
pub(crate) fn run() -> Result<ExitCode> {
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    let mut check = |what, check: &dyn Fn() -> Result<()>| {
        println!("== {what}");
        if let Err(error) = check() {
            println!("{error:#}");
            counts.failed += 1;
            failures.push(what);
        }
    };
    check("format", &|| require("format", &mut cargo(&["fmt", "--all", "--check"])));
    check("clippy", &|| {
        let args = ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        require("clippy", &mut cargo(&args))
    });
    check("generated files", &generate::check);
    println!("== tests");
    let failed_before = counts.failed;
    let success = tests(&mut counts)?;
    if counts.failed > failed_before {
        failures.push("tests");
    } else if !success {
        // A program that did not compile or died has no summary of its own.
        counts.failed += 1;
        failures.push("building or running the tests");
    }
    if !failures.is_empty() {
        println!("failed: {}", failures.join(", "));
    }
    println!("{counts}");
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs every test of the workspace, doc tests included, and counts. Returns whether cargo succeeded.
fn tests(counts: &mut Counts) -> Result<bool> {
    let mut cargo = cargo(&["test", "--workspace", "--no-fail-fast", "--locked"]);
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the output of cargo test")?;
        let line = String::from_utf8_lossy(&line);
        counts.add_line(&line);
        // Not println!: a closed pipe must not end the run in a panic.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    Ok(child.wait().context("cannot wait for cargo test")?.success())
}
