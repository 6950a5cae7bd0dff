//! Pictures of nothing in particular, to mix into training images and to show as outliers.

use rand::Rng;

use crate::images::{image::PIXELS, synthetic};

/// Pictures of each kind.
const EACH: usize = 1500;
/// Their seed; no set that is measured or tuned with has it.
const SEED: u64 = 0x9178;

/// Fractals, dead leaves and procedural textures.
pub(super) struct Pictures {
    images: Vec<u8>,
}

impl Pictures {
    /// Takes some seconds.
    pub fn new() -> Self {
        let kinds = [synthetic::fractals, synthetic::leaves, synthetic::patterns];
        Pictures { images: kinds.iter().flat_map(|kind| kind(0..EACH, SEED).images).collect() }
    }

    /// One of them, `[3, 32, 32]`.
    pub fn any<R: Rng>(&self, rng: &mut R) -> &[u8] {
        let index = rng.random_range(0..(self.images.len() / PIXELS) as u32) as usize;
        &self.images[index * PIXELS..][..PIXELS]
    }
}
