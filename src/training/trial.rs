//! A trial step, which tells how long a training will take on a device.

use burn::tensor::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{
    learner::{Batch, Learner},
    recipe::Recipe,
};
use crate::{
    error::Result,
    images::image::{Normalisation, PIXELS},
    network::Network,
};

/// Makes a network for the returned function, which runs one training step on blank images, waits for it and returns its loss, so
/// that a caller can tell how long a training will take, and whether the device computes.
///
/// # Errors
/// The function's are [`Error::Device`](crate::error::Error::Device) when the device fails.
pub fn trial_step(network: &Network, recipe: &Recipe, classes: usize, device: &Device) -> impl FnMut() -> Result<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut learner = Learner::new(network, classes, recipe, Normalisation::default(), &mut rng, device);
    let batch = Batch {
        kept: vec![0; recipe.batch * PIXELS],
        labels: vec![0; recipe.batch],
        targets: None,
        left_out: (recipe.left_out_batch > 0).then(|| vec![0; recipe.left_out_batch * PIXELS]),
        outliers: (recipe.outlier_batch > 0).then(|| vec![0; recipe.outlier_batch * PIXELS]),
    };
    move || {
        learner.step(&batch, 0.0);
        learner.take_totals().map(|totals| totals.loss())
    }
}
