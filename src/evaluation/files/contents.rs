//! What a file of scores or logits holds, and what is said about one that holds neither.

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
        /// Share of the in-distribution images whose `pred` is their label, where the file has it.
        accuracy: Option<f64>,
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

/// The error of a place in a file.
pub(super) fn wrong(place: &str, expected: &str, found: impl ToString) -> Error {
    Error::ScoreFile { place: place.to_owned(), expected: expected.to_owned(), found: found.to_string() }
}

/// Refuses a file without scores.
pub(super) fn some(place: &str, scores: Vec<f64>) -> Result<Vec<f64>> {
    if scores.is_empty() { Err(wrong(place, "at least 1 score", 0)) } else { Ok(scores) }
}
