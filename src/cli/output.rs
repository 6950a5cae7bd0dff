//! Lines on the standard output and the error stream, which may be a full disk or a pipe that nobody reads any more.

use std::{
    fmt::Display,
    io::{self, Write},
};

use anyhow::{Context, Result};

/// Prints a line.
///
/// # Errors
/// When it cannot be written; [`is_closed_pipe`] tells whether that is a reader who has seen enough.
pub fn line(text: impl Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{text}").context("standard output: could not be written")
}

/// `text` with its line breaks, tabs and other control characters written out, so that it stays in its place in a table.
pub fn in_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
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

/// Prints a line on the error stream, where there is anybody to read it.
pub fn note(text: impl Display) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Whether an error is only that the reader of the output has gone, as `head` does.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
