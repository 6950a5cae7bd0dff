//! What all generated sets share: a generator for each image, and bytes from it.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::images::{dataset::ImageSet, image::PIXELS};

/// Those images of an endless set that have the `indices`; image `index` is drawn by `draw(index, its generator, its bytes)`.
pub(super) fn unlabelled(
    name: &str,
    indices: Range<usize>,
    seed: u64,
    mut draw: impl FnMut(usize, &mut ChaCha8Rng, &mut [u8]),
) -> ImageSet {
    let mut images = vec![0; indices.len() * PIXELS];
    for (index, out) in indices.clone().zip(images.chunks_exact_mut(PIXELS)) {
        draw(index, &mut image_rng(seed, index), out);
    }
    ImageSet {
        name: name.to_owned(),
        images,
        sources: indices.map(|index| format!("{name} {index}")).collect(),
        skipped: Vec::new(),
    }
}

/// Image `index` does not depend on which others are made.
pub(in crate::images) fn image_rng(seed: u64, index: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index as u64);
    rng
}

/// A value in [0, 1] to the nearest of 256 levels; values outside are clipped.
pub(crate) fn to_byte(value: f32) -> u8 {
    // A float cast saturates, so this clips.
    (value * 255.0 + 0.5) as u8
}

/// An index below `n`, the same on 32-bit and 64-bit targets.
pub(super) fn pick(n: usize, rng: &mut ChaCha8Rng) -> usize {
    rng.random_range(0..n as u32) as usize
}
