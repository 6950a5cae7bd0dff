//! Weights folders: a manifest and one compact file for each fold, bytes in and bytes out, so that the command line and the
//! page read the same files.
//!
//! In: trained classifiers and how they were made, or a folder's files. Out: the folder's files, or classifiers. Start with
//! [`manifest`]. A fold file holds what [`tensors`](crate::network::tensors) writes; [`int8`] is a smaller form of it, and
//! [`pytorch`] reads the published code's checkpoints and writes tensors for PyTorch.

pub mod int8;
pub mod manifest;
#[cfg(not(target_family = "wasm"))]
pub mod pytorch;
