//! Outliers that are made: images of no class, for an entropy term of their own.

use std::sync::LazyLock;

use rand::{Rng, seq::IndexedRandom};
use rand_distr::StandardNormal;

use crate::images::{
    derived::{JIGSAWS, four_sampled, in_pieces},
    image::{CHANNELS, PIXELS, SIDE},
    synthetic,
};

const PLANE: usize = SIDE * SIDE;
/// Pictures of each kind.
const EACH: usize = 1500;
/// Their seed; no set that is measured or tuned with has it.
const SEED: u64 = 0x9178;

/// Pictures of nothing in particular, `[n, 3, 32, 32]`: fractals, dead leaves and procedural textures. Made once, which takes a second.
static PICTURES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let kinds = [synthetic::fractals, synthetic::leaves, synthetic::patterns];
    kinds.iter().flat_map(|kind| kind(0..EACH, SEED).images).collect()
});

/// Writes an outlier to `out`, `[3, 32, 32]`: in a sixth of the cases each noise, an image in pieces that lie in another order, one
/// with pixels in another order, or four point-sampled ones; else a picture. A quarter of them are grey, so that outliers are not
/// known by their colours. `any_image` gives training images.
pub(super) fn outlier<'a, R: Rng>(rng: &mut R, mut any_image: impl FnMut(&mut R) -> &'a [u8], out: &mut [u8]) {
    match rng.random_range(0..6_u32) {
        0 => noise(rng, out),
        1 => {
            let pieces = *JIGSAWS.choose(rng).expect("there are some");
            in_pieces(any_image(rng), pieces, rng, out);
        }
        2 => shuffled(any_image(rng), rng, out),
        3 => four_sampled(std::array::from_fn(|_| any_image(rng)), rng, out),
        _ => {
            let index = rng.random_range(0..(PICTURES.len() / PIXELS) as u32) as usize;
            out.copy_from_slice(&PICTURES[index * PIXELS..][..PIXELS]);
        }
    }
    if rng.random_range(0..4_u32) == 0 {
        // One channel of noise is as strong as noise in colours; their mean is not.
        let channel = rng.random_range(0..CHANNELS as u32) as usize;
        let grey = out[channel * PLANE..][..PLANE].to_vec();
        out.chunks_exact_mut(PLANE).for_each(|plane| plane.copy_from_slice(&grey));
    }
}

/// Noise of squares of 1, 2 or 4 pixels, uniform or normal.
fn noise<R: Rng>(rng: &mut R, out: &mut [u8]) {
    let side = 1 << rng.random_range(0..3_u32);
    let is_normal: bool = rng.random();
    let (low, high) = (rng.random_range(0.0..0.4_f32), rng.random_range(0.6..1.0_f32));
    let across = SIDE / side;
    let values: Vec<f32> = (0..CHANNELS * across * across)
        .map(|_| match is_normal {
            true => 0.5 + (high - low) * rng.sample::<f32, _>(StandardNormal),
            false => rng.random_range(low..high),
        })
        .collect();
    for (at, out) in out.iter_mut().enumerate() {
        let (channel, y, x) = (at / PLANE, at / SIDE % SIDE, at % SIDE);
        *out = synthetic::to_byte(values[(channel * across + y / side) * across + x / side]);
    }
}

/// Writes `image` to `out`, of whose pixels a fifth to all are replaced by others of these.
fn shuffled<R: Rng>(image: &[u8], rng: &mut R, out: &mut [u8]) {
    let share: f32 = rng.random_range(0.2..1.0);
    let places: Vec<usize> = (0..PLANE).filter(|_| rng.random::<f32>() < share).collect();
    out.copy_from_slice(image);
    for &place in &places {
        let from = *places.choose(rng).expect("there is at least this one");
        (0..CHANNELS).for_each(|channel| out[channel * PLANE + place] = image[channel * PLANE + from]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A thousand outliers of images with one colour each, of which pieces and pixels of four remain.
    #[test]
    fn every_kind_occurs() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let images: Vec<Vec<u8>> = (0..8).map(|colour| vec![30 * colour + 1; PIXELS]).collect();
        let mut kinds = [0; 3];
        for _ in 0..1000 {
            let mut out = vec![0; PIXELS];
            outlier(&mut rng, |rng| &images[rng.random_range(0..8_u32) as usize], &mut out);
            let colours: HashSet<u8> = out.iter().copied().collect();
            // Of one image; of four; noise or pictures.
            let is_made = colours.iter().any(|colour| colour % 30 != 1);
            kinds[if colours.len() == 1 { 0 } else { 1 + usize::from(is_made) }] += 1;
        }
        // 333, less of the four those that are of one colour, and 500.
        assert!((280..400).contains(&kinds[0]) && (120..220).contains(&kinds[1]), "{kinds:?}");
    }

    #[test]
    fn shuffled_images_have_pixels_of_the_image() {
        let image = synthetic::uniform_noise(0..1, 1).images;
        let mut out = vec![0; PIXELS];
        shuffled(&image, &mut ChaCha8Rng::seed_from_u64(2), &mut out);
        let pixel = |image: &[u8], at: usize| [image[at], image[PLANE + at], image[2 * PLANE + at]];
        let before: HashSet<[u8; 3]> = (0..PLANE).map(|at| pixel(&image, at)).collect();
        let moved = (0..PLANE).filter(|&at| pixel(&out, at) != pixel(&image, at)).count();
        assert!((0..PLANE).all(|at| before.contains(&pixel(&out, at))));
        assert!((PLANE / 8..PLANE).contains(&moved), "{moved}");
    }

    #[test]
    fn noise_is_in_squares() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let mut out = vec![0; PIXELS];
            noise(&mut rng, &mut out);
            let same =
                |step: usize| out.chunks_exact(step).all(|values| values.iter().all(|value| *value == values[0]));
            seen.insert([4, 2, 1].into_iter().find(|&step| same(step)));
        }
        assert_eq!(seen.len(), 3);
    }

    /// Every kind of a coloured image.
    #[test]
    fn a_quarter_is_grey() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let image = synthetic::uniform_noise(0..1, 1).images;
        let is_grey = |image: &[u8]| image.chunks_exact(PLANE).all(|plane| plane == &image[..PLANE]);
        let grey = (0..1000).filter(|_| {
            let mut out = vec![0; PIXELS];
            outlier(&mut rng, |_| &image, &mut out);
            is_grey(&out)
        });
        let grey = grey.count();
        assert!((200..300).contains(&grey), "{grey}");
    }
}
