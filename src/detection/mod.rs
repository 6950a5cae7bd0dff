//! How far images look like the training images.
//!
//! In: the classifiers of the folds and images `[n, 3, 32, 32]` u8. Out: a score for each image, higher for images that look more
//! like the training images. Start with [`ensemble`]; it takes each fold's step from [`odin`] and its formulas from [`scores`].
//! [`self_test`] has images whose scores every device should agree on.

pub mod ensemble;
pub mod odin;
pub mod scores;
pub mod self_test;
