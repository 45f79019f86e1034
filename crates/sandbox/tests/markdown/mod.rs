//! Fenced blocks of Markdown pages, and how text that varies is compared with them.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// What stands behind the fence.
    pub(crate) language: String,
    /// The line of the fence, from 1.
    pub(crate) line: usize,
    /// What stands inside.
    pub(crate) lines: Vec<String>,
}

/// The fenced blocks of a page.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block { language: language.trim().to_owned(), line: number + 1, lines: Vec::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed: {open:?}");
    blocks
}

/// A command of a console block, and what it is said to print.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) output: Vec<String>,
}

/// Commands begin with `$ ` and go on where a line ends in `\`; what follows is their output.
pub(crate) fn steps(lines: &[String]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut continued = false;
    for line in lines {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), output: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            match continued {
                true => step.command = format!("{}\n{line}", step.command),
                false => step.output.push(line.clone()),
            }
        } else {
            panic!("a console block begins with {line:?}, not with `$ `");
        }
        continued = line.ends_with('\\');
    }
    steps
}

/// Whether `text` is what is `expected`. `…` stands for any text within a line, alone on a line for any lines; white space counts as
/// one blank.
pub(crate) fn matches(expected: &[String], text: &str) -> bool {
    let lines: Vec<String> = text.lines().map(squeeze).filter(|line| !line.is_empty()).collect();
    let expected: Vec<String> = expected.iter().map(|line| squeeze(line)).filter(|line| !line.is_empty()).collect();
    match_lines(&expected, &lines)
}

fn match_lines(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any == "…" => (0..=lines.len()).any(|skipped| match_lines(rest, &lines[skipped..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, left)| match_line(first, line) && match_lines(rest, left))
        }
    }
}

/// Whether a line is as expected.
pub(crate) fn match_line(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => expected == line,
        Some((head, tail)) => line.strip_prefix(head).is_some_and(|left| {
            let ends = left.char_indices().map(|(at, _)| at).chain([left.len()]);
            ends.into_iter().any(|at| match_line(tail, &left[at..]))
        }),
    }
}

/// One blank for any white space, none at the ends.
pub(crate) fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn patterns_match_what_they_say() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, text, verdict) in [
        ("a …", "a   b", true),
        ("a …", "b a", false),
        ("…\nend", "one\ntwo\nend\n", true),
        ("…\nend", "one\nend\ntwo", false),
        ("10.0.…/24 … Bound", "10.0.0.2/24   web  Bound", true),
        ("10.0.…/24 … Bound", "10.0.0.2/24   web  Reserved", false),
        ("", "anything", false),
    ] {
        assert_eq!(matches(&lines(expected), text), verdict, "{expected:?} {text:?}");
    }
    let block = lines("$ a \\\n  b\nout\n$ c");
    let found = steps(&block);
    assert_eq!((found[0].command.as_str(), found[0].output.len()), ("a \\\n  b", 1));
    assert_eq!(found[1].command, "c");
}
