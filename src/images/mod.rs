//! Pixels and sets of them.
//!
//! In: encoded images, archives, CIFAR's files, or seeds. Out: 32 x 32 RGB images, `[n, 3, 32, 32]` u8, with labels where
//! there are any. Start with [`image`], the rule for one image; [`archive`] takes files out of archives, [`dataset`] holds
//! sets, and [`synthetic`] makes sets that need no download.

pub mod archive;
pub mod dataset;
mod headers;
pub mod image;
pub mod synthetic;
