//! Lines on the standard output, which may be a full disk or a pipe that nobody reads any more.

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

/// Whether an error is only that the reader of the output has gone, as `head` does.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
