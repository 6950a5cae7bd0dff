//! Training-time augmentation: one planar `u8` image in, one of the same size out.
//!
//! It comes before [`Normalisation::apply`](crate::images::image::Normalisation::apply), so that constant padding is black as in the
//! reference (torchvision's `RandomCrop(32, padding=4)` on the `u8` image), not the mean colour.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::images::image::{PIXELS, SIDE};

/// How far images are shifted, whether they are mirrored, and how much of them is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Pixels added on each side before the random 32 x 32 crop.
    pub padding: usize,
    /// What these pixels are; black in manifests that do not say.
    #[serde(default)]
    pub padding_mode: PaddingMode,
    /// Mirror left to right with probability 0.5.
    pub flip: bool,
    /// Side of the grey square that hides a part of each image (cutout, DeVries & Taylor 2017); 0 for none.
    #[serde(default)]
    pub cutout: usize,
}

/// Grey of the hidden square, close to the mean of photographs.
const GREY: u8 = 128;

/// What stands around a padded image, in torchvision's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaddingMode {
    /// Black.
    #[default]
    Constant,
    /// The image mirrored at its outermost pixels, which are not repeated.
    Reflect,
}

impl Default for Augmentation {
    /// Black padding of 4 and flips, as for CIFAR in the paper and the reference.
    fn default() -> Self {
        Self { padding: 4, padding_mode: PaddingMode::Constant, flip: true, cutout: 0 }
    }
}

/// Writes a randomly cropped, mirrored and partly hidden copy of `image` to `out`, both `[3, 32, 32]`.
///
/// Each of the `(2 * padding + 1)^2` crops is equally likely, and each pixel as the middle of the hidden square, which may lie
/// partly outside. Draws from `rng`: row, column, flip (only when it is on), the square's row and column (where there is one).
///
/// # Panics
/// When `image` or `out` is not one image long.
pub fn augment<R: Rng>(image: &[u8], settings: &Augmentation, rng: &mut R, out: &mut [u8]) {
    assert!(image.len() == PIXELS && out.len() == PIXELS, "one image of {PIXELS} bytes in and out");

    // Drawn as u32, so that 32-bit and 64-bit targets draw the same.
    let mut draw = || rng.random_range(0..=2 * settings.padding as u32) as usize;
    let [rows, mut columns] = [draw(), draw()].map(|start| sources(start, settings));
    if settings.flip && rng.random() {
        columns.reverse();
    }
    for (source, out) in image.chunks_exact(SIDE * SIDE).zip(out.chunks_exact_mut(SIDE * SIDE)) {
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(SIDE)) {
            for (&column, out) in columns.iter().zip(out) {
                *out = row.zip(column).map_or(0, |(row, column)| source[row * SIDE + column]);
            }
        }
    }
    if settings.cutout > 0 {
        let mut draw = || {
            let middle = rng.random_range(0..SIDE as u32) as usize;
            let start = middle.saturating_sub(settings.cutout / 2);
            start..(middle + settings.cutout.div_ceil(2)).min(SIDE)
        };
        let [rows, columns] = [draw(), draw()];
        for channel in out.chunks_exact_mut(SIDE * SIDE) {
            rows.clone().for_each(|row| channel[row * SIDE..][columns.clone()].fill(GREY));
        }
    }
}

/// Where the rows or columns of a crop that begins at `start` of the padded image come from; none are black.
fn sources(start: usize, settings: &Augmentation) -> [Option<usize>; SIDE] {
    // Mirrored at both ends, the image comes again after this many pixels.
    const PERIOD: isize = 2 * (SIDE as isize - 1);
    std::array::from_fn(|offset| {
        let position = (start + offset) as isize - settings.padding as isize;
        let position = match settings.padding_mode {
            PaddingMode::Constant => position,
            PaddingMode::Reflect => {
                let position = position.rem_euclid(PERIOD);
                position.min(PERIOD - position)
            }
        };
        usize::try_from(position).ok().filter(|&position| position < SIDE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    use PaddingMode::{Constant, Reflect};

    fn augmented(image: &[u8], settings: Augmentation, seed: u64) -> Vec<u8> {
        let mut out = vec![1; PIXELS];
        augment(image, &settings, &mut ChaCha8Rng::seed_from_u64(seed), &mut out);
        out
    }

    fn black(padding: usize, flip: bool) -> Augmentation {
        Augmentation { padding, padding_mode: Constant, flip, cutout: 0 }
    }

    /// The definition, pixel by pixel: pad, crop at (`top`, `left`), mirror. For reflected padding below the image's side.
    fn by_definition(image: &[u8], settings: &Augmentation, top: usize, left: usize, flip: bool) -> Vec<u8> {
        let inside = |position: usize| match (position.checked_sub(settings.padding), settings.padding_mode) {
            (Some(inside), _) if inside < SIDE => Some(inside),
            (_, Constant) => None,
            (None, Reflect) => Some(settings.padding - position),
            (Some(beyond), Reflect) => Some(SIDE - 1 - (beyond - (SIDE - 1))),
        };
        let at = |channel: usize, y: usize, x: usize| -> u8 {
            match (inside(y + top), inside(x + left)) {
                (Some(y), Some(x)) => image[(channel * SIDE + y) * SIDE + x],
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
        let seen: HashSet<_> = (0..2000).map(|seed| augmented(&image, black(2, true), seed)).collect();
        assert_eq!(seen.len(), 50);
    }

    proptest! {
        #[test]
        fn result_is_one_of_the_crops_of_the_padded_image(
            image in proptest::collection::vec(1_u8.., PIXELS), padding in 0_usize..5, reflect: bool, flip: bool, seed: u64,
        ) {
            let settings = Augmentation { padding_mode: if reflect { Reflect } else { Constant }, ..black(padding, flip) };
            let out = augmented(&image, settings, seed);
            let crops = (0..=2 * padding).flat_map(|top| (0..=2 * padding).map(move |left| (top, left)));
            let found = crops.flat_map(|(top, left)| [(top, left, false), (top, left, true)])
                .any(|(top, left, mirror)| (!mirror || flip) && by_definition(&image, &settings, top, left, mirror) == out);
            prop_assert!(found);
        }

        #[test]
        fn no_padding_and_no_flip_change_nothing(image in proptest::collection::vec(0_u8.., PIXELS), seed: u64) {
            prop_assert_eq!(augmented(&image, black(0, false), seed), image);
        }

        #[test]
        fn padding_beyond_the_image_is_black(padding in 33_usize..200, seed: u64) {
            let image = [255; PIXELS];
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let [top, left] = [(); 2].map(|()| rand::Rng::random_range(&mut rng, 0..=2 * padding as u32) as usize);
            let settings = black(padding, false);
            prop_assert_eq!(augmented(&image, settings, seed), by_definition(&image, &settings, top, left, false));
        }

        #[test]
        fn reflected_padding_of_a_plain_image_does_not_show(padding in 0_usize..200, seed: u64) {
            let settings = Augmentation { padding_mode: Reflect, ..black(padding, true) };
            prop_assert_eq!(augmented(&[7; PIXELS], settings, seed), vec![7; PIXELS]);
        }

        /// The rest is as without it.
        #[test]
        fn cutout_hides_a_square(image in proptest::collection::vec(200_u8.., PIXELS), cutout in 1_usize..=SIDE, seed: u64) {
            let hidden = augmented(&image, Augmentation { cutout, ..black(4, true) }, seed);
            let plain = augmented(&image, black(4, true), seed);
            let is_grey = |i: &usize| hidden[*i] != plain[*i];
            prop_assert!((0..PIXELS).filter(is_grey).all(|i| hidden[i] == GREY));
            let pixel = |i: usize| (i / SIDE % SIDE, i % SIDE);
            let grey: HashSet<_> = (0..PIXELS).filter(is_grey).map(pixel).collect();
            prop_assert_eq!(3 * grey.len(), (0..PIXELS).filter(is_grey).count());
            let side = |values: Vec<usize>| values.iter().max().unwrap() - values.iter().min().unwrap() + 1;
            let height = side(grey.iter().map(|pixel| pixel.0).collect());
            let width = side(grey.iter().map(|pixel| pixel.1).collect());
            prop_assert_eq!(height * width, grey.len());
            let smallest = (cutout / 2).max(1);
            prop_assert!((smallest..=cutout).contains(&height) && (smallest..=cutout).contains(&width));
        }

        #[test]
        fn same_seed_gives_the_same_bytes(image in proptest::collection::vec(0_u8.., PIXELS), seed: u64) {
            prop_assert_eq!(augmented(&image, black(4, true), seed), augmented(&image, black(4, true), seed));
        }
    }
}
