//! Scores and logits that other programs wrote.
//!
//! In: the names and bytes of files, `.txt`, `.csv`, `.npy` or `.npz`. Out: [`Contents`] of each, and from those of both sides the
//! [`Pair`]s of scores that [`super::metrics`] measures. Start with [`read`] and [`pairs`].

mod contents;
mod npy;
mod numpy;
mod pairs;
mod read;
#[cfg(test)]
mod tests;
mod text;

pub use contents::{Contents, Logits};
pub use pairs::{Known, Pair, pairs};
pub use read::read;
