//! Out-of-distribution detection with an ensemble of self-supervised leave-out classifiers (Vyas et al., ECCV 2018).
//!
//! A house with rooms, each a folder whose `mod.rs` says what comes in, what goes out and where to start reading. A room uses
//! itself and those below it:
//!
//! ```text
//! cli (main.rs)   files, terminal, progress          web   what the page's workers call
//! weights         folds and their manifest as files, PyTorch's files
//! training        recipe, batches, loss, one fold from first to last epoch
//! evaluation      the five metrics, the published protocol, reports, files of scores
//! detection       ODIN's step, scores, the ensemble
//! network         three families of classifiers
//! images          pixels, archives, data sets, generated images          fold   which classes are left out
//! error           the one error type
//! ```
//!
//! To follow one image from file to score, read [`images::image`], [`network`], [`detection::odin`], [`detection::ensemble`] and
//! [`detection::scores`]; for training, [`fold`], [`training::loss`], [`training::learner`] and [`training::train`]. Everything
//! here takes bytes, slices and tensors and returns the same, but for [`weights::pytorch`], which reads the published code's
//! checkpoint files. Other files and the terminal are the command line's, and `web`, in builds for browsers, is what the page
//! calls.
//!
//! ```
//! use eloc::{evaluation::metrics::{Definition, metrics}, fold::folds};
//!
//! // The first of five classifiers of ten classes never learns to name classes 5 and 4.
//! assert_eq!(folds(10, 5, 3)?[0].left_out, [5, 4]);
//!
//! // Five of the six pairs of a known and an unknown image are in the right order.
//! let found = metrics(&[0.9, 0.8, 0.7], &[0.75, 0.1], Definition::Standard)?;
//! assert!((found.auroc - 5.0 / 6.0).abs() < 1e-12);
//! # Ok::<(), eloc::error::Error>(())
//! ```
#![warn(missing_docs)]

pub mod detection;
pub mod error;
pub mod evaluation;
pub mod fold;
pub mod images;
pub mod network;
pub mod training;
#[cfg(target_family = "wasm")]
pub mod web;
pub mod weights;

#[cfg(all(target_family = "wasm", feature = "wgpu"))]
compile_error!(
    "build for the browser with --no-default-features: the features of the tool are for files and terminals"
);
