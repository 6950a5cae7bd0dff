//! Training-time augmentation: one planar `u8` image in, one of the same size out.
//!
//! It comes before [`Normalisation::apply`](crate::image::Normalisation::apply), so that the padding is black as in the
//! reference (torchvision's `RandomCrop(32, padding=4)` on the `u8` image), not the mean colour.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::image::{PIXELS, SIDE};

/// How far images are shifted and whether they are mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Black pixels added on each side before the random 32 x 32 crop.
    pub padding: usize,
    /// Mirror left to right with probability 0.5.
    pub flip: bool,
}

impl Default for Augmentation {
    /// Padding 4 and flips, as for CIFAR in the paper and the reference.
    fn default() -> Self {
        Self { padding: 4, flip: true }
    }
}

/// Writes a randomly cropped and mirrored copy of `image` to `out`, both `[3, 32, 32]`.
///
/// Each of the `(2 * padding + 1)^2` crops is equally likely. Draws from `rng`: row, column, flip (only when it is on).
///
/// # Panics
/// When `image` or `out` is not one image long.
pub fn augment<R: Rng>(image: &[u8], settings: &Augmentation, rng: &mut R, out: &mut [u8]) {
    assert!(image.len() == PIXELS && out.len() == PIXELS, "one image of {PIXELS} bytes in and out");

    let padding = settings.padding;
    // Drawn as u32, so that 32-bit and 64-bit targets draw the same.
    let top = rng.random_range(0..=2 * padding as u32) as usize;
    let left = rng.random_range(0..=2 * padding as u32) as usize;
    let flip = settings.flip && rng.random();

    // Output pixel (y, x) shows source pixel (y + top - padding, x + left - padding) where there is one.
    let rows = padding.saturating_sub(top)..(SIDE + padding).saturating_sub(top).min(SIDE);
    let columns = padding.saturating_sub(left)..(SIDE + padding).saturating_sub(left).min(SIDE);
    out.fill(0);
    for (source, out) in image.chunks_exact(SIDE * SIDE).zip(out.chunks_exact_mut(SIDE * SIDE)) {
        for y in rows.clone() {
            let out = &mut out[y * SIDE..][..SIDE];
            if !columns.is_empty() {
                let first = (y + top - padding) * SIDE + columns.start + left - padding;
                out[columns.clone()].copy_from_slice(&source[first..][..columns.len()]);
            }
            if flip {
                out.reverse();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    fn augmented(image: &[u8], padding: usize, flip: bool, seed: u64) -> Vec<u8> {
        let mut out = vec![1; PIXELS];
        augment(image, &Augmentation { padding, flip }, &mut ChaCha8Rng::seed_from_u64(seed), &mut out);
        out
    }

    /// The definition, pixel by pixel: pad, crop at (`top`, `left`), mirror.
    fn by_definition(image: &[u8], padding: usize, top: usize, left: usize, flip: bool) -> Vec<u8> {
        let at = |channel: usize, y: usize, x: usize| -> u8 {
            match ((y + top).checked_sub(padding), (x + left).checked_sub(padding)) {
                (Some(y), Some(x)) if y < SIDE && x < SIDE => image[(channel * SIDE + y) * SIDE + x],
                _ => 0,
            }
        };
        let column = |x| if flip { SIDE - 1 - x } else { x };
        (0..PIXELS).map(|i| at(i / (SIDE * SIDE), i / SIDE % SIDE, column(i % SIDE))).collect()
    }

    #[test]
    fn every_crop_and_both_directions_occur() {
        // 25 crops x 2 directions; 2000 draws miss one of them with probability below 1e-15.
        let image: Vec<u8> = (0..PIXELS).map(|i| (i % 251) as u8 + 1).collect();
        let seen: HashSet<_> = (0..2000).map(|seed| augmented(&image, 2, true, seed)).collect();
        assert_eq!(seen.len(), 50);
    }

    proptest! {
        #[test]
        fn result_is_one_of_the_crops_of_the_padded_image(
            image in proptest::collection::vec(1_u8.., PIXELS), padding in 0_usize..5, flip: bool, seed: u64,
        ) {
            let out = augmented(&image, padding, flip, seed);
            let crops = (0..=2 * padding).flat_map(|top| (0..=2 * padding).map(move |left| (top, left)));
            let found = crops.flat_map(|(top, left)| [(top, left, false), (top, left, true)])
                .any(|(top, left, mirror)| (!mirror || flip) && by_definition(&image, padding, top, left, mirror) == out);
            prop_assert!(found);
        }

        #[test]
        fn no_padding_and_no_flip_change_nothing(image in proptest::collection::vec(0_u8.., PIXELS), seed: u64) {
            prop_assert_eq!(augmented(&image, 0, false, seed), image);
        }

        #[test]
        fn padding_beyond_the_image_is_black(padding in 33_usize..200, seed: u64) {
            let out = augmented(&[255; PIXELS], padding, true, seed);
            prop_assert!(out.iter().all(|&value| value == 0 || value == 255));
        }

        #[test]
        fn same_seed_gives_the_same_bytes(image in proptest::collection::vec(0_u8.., PIXELS), seed: u64) {
            prop_assert_eq!(augmented(&image, 4, true, seed), augmented(&image, 4, true, seed));
        }
    }
}
