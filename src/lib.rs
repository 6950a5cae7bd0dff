//! Out-of-distribution detection with an ensemble of self-supervised leave-out classifiers (Vyas et al., ECCV 2018).
//!
//! ```text
//! files -> image, archive -> dataset -> fold -> batches (augment) -> learner (model, loss, sgd) -> weights
//!                                                                                                     |
//!                    report <- metrics <- scores <- ensemble <- odin <- model  <----------------------+
//! ```
//!
//! To follow one image from file to score, read [`image`], [`model`], [`odin`], [`ensemble`] and [`scores`]; for
//! training, [`fold`], [`loss`], [`learner`] and [`train`]. Everything here takes bytes, slices and tensors and returns
//! the same, but for `pytorch`, which reads the published code's checkpoint files. Other files and the terminal are the
//! command line's, and `web`, in builds for browsers, is what the page calls.
//!
//! ```
//! use eloc::{fold::folds, metrics::{Definition, metrics}};
//!
//! // The first of five classifiers of ten classes never learns to name classes 5 and 4.
//! assert_eq!(folds(10, 5, 3)?[0].left_out, [5, 4]);
//!
//! // Five of the six pairs of a known and an unknown image are in the right order.
//! let found = metrics(&[0.9, 0.8, 0.7], &[0.75, 0.1], Definition::Standard)?;
//! assert!((found.auroc - 5.0 / 6.0).abs() < 1e-12);
//! # Ok::<(), eloc::error::Error>(())
//! ```

pub mod archive;
pub mod augment;
mod batches;
mod calibration;
pub mod dataset;
pub mod ensemble;
pub mod error;
pub mod fold;
pub mod image;
pub mod learner;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod odin;
pub mod protocol;
#[cfg(not(target_family = "wasm"))]
pub mod pytorch;
pub mod recipe;
pub mod report;
pub mod scores;
pub mod self_test;
mod sgd;
pub mod synthetic;
pub mod train;
pub mod validation;
#[cfg(target_family = "wasm")]
pub mod web;
pub mod weights;

#[cfg(all(target_family = "wasm", feature = "wgpu"))]
compile_error!("build for the browser with --no-default-features: autotuned kernels are silently wrong there");
