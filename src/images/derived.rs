//! Images made of others, which have their colours and details but are none of their kind: out-of-distribution images near a
//! data set, for which no other data set is needed.

use rand::{Rng, seq::SliceRandom};

use super::{
    image::{CHANNELS, PIXELS, SIDE},
    synthetic::image_rng,
};

/// Each of `images` `[n, 3, 32, 32]` cut into 2 x 2, 4 x 4 or 8 x 8 pieces, in turn, that lie in another order.
pub fn jigsaw(images: &[u8], seed: u64) -> Vec<u8> {
    let mut out = vec![0; images.len()];
    for (index, (image, out)) in images.chunks_exact(PIXELS).zip(out.chunks_exact_mut(PIXELS)).enumerate() {
        in_pieces(image, JIGSAWS[index % JIGSAWS.len()], &mut image_rng(seed, index), out);
    }
    out
}

/// Into how many pieces images are cut in each direction.
pub(crate) const JIGSAWS: [usize; 3] = [2, 4, 8];

/// Writes `image` `[3, 32, 32]`, cut into `pieces` x `pieces` that lie in another order, to `out`.
pub(crate) fn in_pieces<R: Rng>(image: &[u8], pieces: usize, rng: &mut R, out: &mut [u8]) {
    let side = SIDE / pieces;
    let mut order: Vec<usize> = (0..pieces * pieces).collect();
    while order.iter().enumerate().all(|(place, &piece)| place == piece) {
        order.shuffle(rng);
    }
    let corner = |piece: usize| piece / pieces * side * SIDE + piece % pieces * side;
    for (place, &piece) in order.iter().enumerate() {
        for row in 0..CHANNELS * side {
            let row = row / side * SIDE * SIDE + row % side * SIDE;
            out[corner(place) + row..][..side].copy_from_slice(&image[corner(piece) + row..][..side]);
        }
    }
}

/// `images` `[n, 3, 32, 32]`, each mirrored left to right.
pub fn mirrored(images: &[u8]) -> Vec<u8> {
    images.chunks_exact(SIDE).flat_map(|row| row.iter().rev()).copied().collect()
}

/// Four of `images` `[n, 3, 32, 32]` beside each other, each reduced to every second pixel of every second row, as scaling without
/// smoothing does: image `i` of the result has the images `i` to `i + 3`, counted on from the first behind the last.
pub fn point_sampled(images: &[u8], seed: u64) -> Vec<u8> {
    let count = images.len() / PIXELS;
    let mut out = vec![0; images.len()];
    for (index, out) in out.chunks_exact_mut(PIXELS).enumerate() {
        let four = std::array::from_fn(|after| &images[(index + after) % count * PIXELS..][..PIXELS]);
        four_sampled(four, &mut image_rng(seed, index), out);
    }
    out
}

/// Writes such an image of `four` `[3, 32, 32]` to `out`.
pub(crate) fn four_sampled<R: Rng>(four: [&[u8]; 4], rng: &mut R, out: &mut [u8]) {
    let half = SIDE / 2;
    let first: [usize; 2] = std::array::from_fn(|_| rng.random_range(0..2_u32) as usize);
    for (at, value) in out.iter_mut().enumerate() {
        let (channel, y, x) = (at / (SIDE * SIDE), at / SIDE % SIDE, at % SIDE);
        let image = four[y / half * 2 + x / half];
        let (y, x) = (y % half * 2 + first[0], x % half * 2 + first[1]);
        *value = image[(channel * SIDE + y) * SIDE + x];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::synthetic;

    #[test]
    fn a_mirror_image_has_each_row_from_its_end() {
        let images = synthetic::uniform_noise(0..2, 1).images;
        let mirrored = mirrored(&images);
        for (at, value) in mirrored.iter().enumerate() {
            assert_eq!(*value, images[at / SIDE * SIDE + SIDE - 1 - at % SIDE]);
        }
    }

    #[test]
    fn a_jigsaw_has_the_pixels_of_its_image_in_another_order() {
        let images = synthetic::uniform_noise(0..6, 1).images;
        let puzzles = jigsaw(&images, 2);
        for (image, puzzle) in images.chunks_exact(PIXELS).zip(puzzles.chunks_exact(PIXELS)) {
            assert_ne!(image, puzzle);
            let pixels = |image: &[u8]| {
                let mut pixels: Vec<[u8; 3]> = (0..SIDE * SIDE)
                    .map(|at| std::array::from_fn(|channel| image[channel * SIDE * SIDE + at]))
                    .collect();
                pixels.sort_unstable();
                pixels
            };
            assert_eq!(pixels(image), pixels(puzzle));
        }
        // Pieces of 16 x 16 pixels stay whole: the first row's left half is that of one of the four.
        let (image, left) = (&images[..PIXELS], &puzzles[..16]);
        assert!([0, 16, 512, 528].iter().any(|corner| &image[*corner..corner + 16] == left));
        assert_eq!(puzzles, jigsaw(&images, 2));
        assert_ne!(puzzles, jigsaw(&images, 3));
    }

    #[test]
    fn point_sampled_images_are_every_second_pixel_of_four() {
        // Each image has one colour, so that its quarter is known.
        let images: Vec<u8> = (0..5).flat_map(|colour| vec![colour; PIXELS]).collect();
        let sampled = point_sampled(&images, 1);
        let corners = |index: usize| [0, 31, 31 * 32, 32 * 32 - 1].map(|at| sampled[index * PIXELS + at]);
        assert_eq!((corners(0), corners(3)), ([0, 1, 2, 3], [3, 4, 0, 1]));
        let noise = synthetic::uniform_noise(0..4, 1).images;
        let sampled = point_sampled(&noise, 1);
        let rows = [0, 1].map(|first| {
            [noise[first * SIDE..][..SIDE].iter().step_by(2), noise[first * SIDE + 1..][..SIDE].iter().step_by(2)]
        });
        assert!(rows.into_iter().flatten().any(|row| row.take(15).eq(&sampled[..15])));
    }
}
