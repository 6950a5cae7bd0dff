//! Which reader a file is for.

use super::{
    contents::{Contents, wrong},
    npy, numpy, text,
};
use crate::error::Result;

/// Reads a file by its contents, or, where it is text, by its `name`.
///
/// - `.csv`: a line of column names, then numbers; the scores are those of the `column`, which a file of one column need not be
///   told.
/// - Other text: a score a line.
/// - `.npy`: `[n]` scores or `[n, classes]` logits, of floating-point or whole numbers in either byte order and C or Fortran order.
/// - `.npz`: the array named `column`, or what OpenOOD saves (`conf`, and where it has one `label`), or the only array.
///
/// # Errors
/// [`Error::ScoreFile`](crate::error::Error::ScoreFile), which names the file and the place in it: for what is none of these, for
/// pickles and arrays of Python objects, for numbers that are not finite, and where there is no number.
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
