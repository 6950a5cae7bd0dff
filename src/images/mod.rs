//! Pixels and sets of them.
//!
//! In: encoded images, archives, CIFAR's files, or seeds. Out: 32 x 32 RGB images, `[n, 3, 32, 32]` u8, with labels where
//! there are any. Start with [`image`], the rule for one image; [`archive`] takes files out of archives, [`dataset`] holds
//! sets, [`synthetic`] makes sets that need no download, and [`derived`] makes images of others.

pub mod archive;
pub mod dataset;
pub mod derived;
mod headers;
pub mod image;
pub mod synthetic;
