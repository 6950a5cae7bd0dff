//! A self-test for any device: the images of one fixed set, whose scores the trainer stores in the manifest.

use crate::{detection::odin::Odin, images::synthetic};

/// Images of each generated set.
const OF_EACH: usize = 10;

/// Seed of the sets.
const SEED: u64 = 0;

/// `[30, 3, 32, 32]` u8: shapes, patterns and uniform noise, the same on every target.
pub fn images() -> Vec<u8> {
    [
        synthetic::shapes(OF_EACH / 10, SEED).images,
        synthetic::patterns(0..OF_EACH, SEED).images,
        synthetic::uniform_noise(0..OF_EACH, SEED).images,
    ]
    .concat()
}

/// The perturbation of the test: that of the weights, with a step of the paper's length where they take none, so that a
/// device's gradients are tested, too.
pub fn odin(weights: Odin) -> Odin {
    if weights.epsilon > 0.0 { weights } else { Odin { epsilon: Odin::default().epsilon, ..weights } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    use crate::images::image::PIXELS;

    #[test]
    fn the_test_takes_a_step_where_the_weights_take_none() {
        let some = Odin { temperature: 10.0, epsilon: 0.004, ..Odin::default() };
        assert_eq!(odin(some), some);
        assert_eq!(odin(Odin { epsilon: 0.0, ..some }), Odin { epsilon: 0.002, ..some });
    }

    /// Stored scores belong to these very bytes.
    #[test]
    fn the_images_stay_the_same() {
        assert_eq!(images().len(), 3 * OF_EACH * PIXELS);
        let hash: String = Sha256::digest(images()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "170b2f093424cb1e66ad5576837794a4eb8dde3d68db0ba55e3a7974e2de2e93");
    }
}
