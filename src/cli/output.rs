//! Lines on the standard output and the error stream, which may be a full disk or a pipe that nobody reads any more.

use std::{
    fmt::Display,
    io::{self, Write},
};

use anyhow::{Context, Result};

/// Prints a line, or several; other control characters than their breaks and tabs are written out.
///
/// # Errors
/// When it cannot be written; [`is_closed_pipe`] tells whether that is a reader who has seen enough.
pub fn line(text: impl Display) -> Result<()> {
    let text = written_out(&text.to_string(), &['\n', '\t']);
    writeln!(io::stdout().lock(), "{text}").context("standard output: could not be written")
}

/// `text` with its line breaks, tabs and other control characters written out, so that it stays in its place in a table.
pub fn in_one_line(text: &str) -> String {
    written_out(text, &[])
}

/// `text` with its control characters written out, but for those in `kept`: a terminal would obey them.
fn written_out(text: &str, kept: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !kept.contains(&c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Prints a line about work that goes on where nobody reads it any more.
///
/// # Errors
/// As [`line`], but for a reader who has gone.
pub fn aside(text: impl Display) -> Result<()> {
    match line(text) {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        written => written,
    }
}

/// Prints a line on the error stream, where there is anybody to read it; it stays one whatever is in a name or a header.
pub fn note(text: impl Display) {
    drop(writeln!(io::stderr().lock(), "{}", in_one_line(&text.to_string())));
}

/// Prints lines about how the tool is used on the error stream.
pub fn usage(text: impl Display) {
    drop(write!(io::stderr().lock(), "{}", written_out(&text.to_string(), &['\n'])));
}

/// Whether an error is only that the reader of the output has gone, as `head` does.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        let text = "a\u{1b}]0;title\u{7}\r\u{9b}31m\tb\nä";
        assert_eq!(in_one_line(text), r"a\u{1b}]0;title\u{7}\r\u{9b}31m\tb\nä");
        assert_eq!(written_out(text, &['\n', '\t']), "a\\u{1b}]0;title\\u{7}\\r\\u{9b}31m\tb\nä");
    }
}
