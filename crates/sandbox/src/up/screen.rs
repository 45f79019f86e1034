//! Lines on the terminal: colours where somebody looks, plain text where something reads.

use std::{
    fmt::Display,
    io::{IsTerminal, Write},
    sync::Mutex,
};

use super::table;

/// Where lines go.
pub(super) struct Screen {
    colours: bool,
    out: Mutex<Box<dyn Write + Send>>,
}

/// How a piece of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Title,
    Faint,
    Good,
    Bad,
}

impl Screen {
    /// The standard output, in colours if it is a terminal and NO_COLOR is not set.
    pub(super) fn stdout() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colours, out: Mutex::new(Box::new(std::io::stdout())) }
    }

    /// Anywhere else, plain.
    #[cfg(test)]
    pub(super) fn plain(out: impl Write + Send + 'static) -> Self {
        Self { colours: false, out: Mutex::new(Box::new(out)) }
    }

    /// Shows one line.
    pub(super) fn line(&self, text: impl Display) {
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A reader that went away is no reason to stop.
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }

    /// Shows aligned columns.
    pub(super) fn table<const N: usize>(&self, heading: [&str; N], rows: &[[String; N]]) {
        for (n, line) in table::lines(heading, rows).into_iter().enumerate() {
            let line = format!("      {line}");
            self.line(if n == 0 { self.styled(Style::Faint, line) } else { line });
        }
    }

    /// The text in its style.
    pub(super) fn styled(&self, style: Style, text: impl Display) -> String {
        let code = match style {
            _ if !self.colours => return text.to_string(),
            Style::Title => "1",
            Style::Faint => "2",
            Style::Good => "32",
            Style::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Breaks a text into lines of at most `width` characters, between words.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a-word-longer-than-that x", 5), ["a-word-longer-than-that", "x"]);
        assert!(wrap("  ", 5).is_empty());
    }

    #[test]
    fn no_colours_where_nobody_looks() {
        assert_eq!(Screen::plain(std::io::sink()).styled(Style::Bad, "no"), "no");
    }
}
