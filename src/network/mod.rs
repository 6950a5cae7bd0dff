//! The classifiers.
//!
//! In: a [`Network`]'s name and values for its weights; then images `[n, 3, 32, 32]`, normalised ([`input`] makes them of
//! pixels). Out: a [`Classifier`] and its logits `[n, classes]`; [`tensors`] is its form in files.
//!
//! Start with [`classifier`], then read one family, such as [`compact`]. A classifier trains on an autodiff device; for scoring
//! it is made with [`burn::module::Module::valid`], since batch normalisation would otherwise learn from the images it scores.

mod average;
pub mod classifier;
pub mod compact;
pub mod densenet;
pub mod input;
pub(crate) mod kernels;
#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
pub mod launches;
mod layers;
pub mod tensors;
#[cfg(feature = "libtorch")]
pub mod torch;
mod whitening;
pub mod wide_resnet;

pub use classifier::{Classifier, Network};
pub use layers::{Convolution, Precision, TrainingMode};
