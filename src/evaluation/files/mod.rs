//! Scores and logits that other programs wrote.
//!
//! In: the names and bytes of files, `.txt`, `.csv`, `.npy` or `.npz`. Out: [`Contents`] of each, and from those of both sides the
//! [`Pair`]s of scores that [`super::metrics`] measures. Start with [`read`] and [`pairs`].

mod npy;
mod numpy;
mod pairs;
mod text;

pub use pairs::{Known, Pair, pairs};

use crate::error::{Error, Result};

/// What a file holds; every number is finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Contents {
    /// `[n]`, one score an image.
    Scores(Vec<f64>),
    /// Logits of each image.
    Logits(Logits),
    /// Scores that OpenOOD saved, higher = more in-distribution, by their labels: of in-distribution images (0 or more), and of
    /// out-of-distribution images (-1). One of the two may be empty.
    OpenOod {
        /// `[n]`
        id: Vec<f64>,
        /// `[m]`
        ood: Vec<f64>,
    },
}

/// Logits of one network for some images.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// At least 2.
    pub classes: usize,
    /// `[n, classes]`, rounded to single precision, in which networks compute.
    pub values: Vec<f32>,
}

/// Reads a file by its contents, or, where it is text, by its `name`.
///
/// - `.csv`: a line of column names, then numbers; the scores are those of the `column`, which a file of one column need not be
///   told.
/// - Other text: a score a line.
/// - `.npy`: `[n]` scores or `[n, classes]` logits, of floating-point or whole numbers in either byte order and C or Fortran order.
/// - `.npz`: the array named `column`, or what OpenOOD saves (`conf`, and where it has one `label`), or the only array.
///
/// # Errors
/// [`Error::ScoreFile`], which names the file and the place in it: for what is none of these, for pickles and arrays of Python
/// objects, for numbers that are not finite, and where there is no number.
pub fn read(name: &str, bytes: &[u8], column: Option<&str>) -> Result<Contents> {
    let is_named = |extension: &str| name.to_ascii_lowercase().ends_with(extension);
    let is_pickle = matches!(bytes, [0x80, 2..=5, ..]) || is_named(".pkl") || is_named(".pickle");
    if is_pickle {
        return Err(wrong(name, "text, .npy or .npz", "a pickle, which can run code; save the array with numpy.save"));
    }
    if bytes.starts_with(b"PK") {
        return numpy::npz(name, bytes, column);
    }
    if is_named(".csv") {
        return text::csv(name, bytes, column).map(Contents::Scores);
    }
    if let Some(column) = column {
        return Err(wrong(name, &format!("a .csv or .npz to take `{column}` from"), "another file"));
    }
    if bytes.starts_with(npy::MAGIC) {
        return npy::read(name, bytes)?.contents(name);
    }
    text::lines(name, bytes).map(Contents::Scores)
}

/// The error of a place in a file.
fn wrong(place: &str, expected: &str, found: impl ToString) -> Error {
    Error::ScoreFile { place: place.to_owned(), expected: expected.to_owned(), found: found.to_string() }
}

/// Refuses a file without scores.
fn some(place: &str, scores: Vec<f64>) -> Result<Vec<f64>> {
    if scores.is_empty() { Err(wrong(place, "at least 1 score", 0)) } else { Ok(scores) }
}

#[cfg(test)]
mod tests;
