//! What one fold is trained on, and how many steps that makes.

use crate::{
    fold::Fold,
    images::{dataset::Dataset, image::Normalisation},
};

/// What one fold is trained and validated on.
pub struct FoldData<'a> {
    /// Which classes are kept.
    pub fold: &'a Fold,
    /// Training images of all classes.
    pub train: &'a Dataset,
    /// In-distribution validation images; the accuracy is over those of kept classes, the detection over all.
    pub validation: &'a Dataset,
    /// Out-of-distribution validation images, `[n, 3, 32, 32]` u8.
    pub validation_ood: &'a [u8],
    /// `[n, classes]`, a teacher's probabilities for the training images, where there is one.
    pub teacher: Option<&'a [f32]>,
    /// Normalisation of all images.
    pub normalisation: Normalisation,
}

/// Steps of one epoch: full batches over the kept classes; what is left over waits for the next epoch's order.
pub fn steps_per_epoch(kept_images: usize, batch: usize) -> usize {
    (kept_images / batch).max(1)
}
