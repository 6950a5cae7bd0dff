//! Pictures mixed into training images (PixMix, Hendrycks et al. 2022), here pictures that are made.
//!
//! An image, or an altered copy of it, is mixed a few times with a picture or with another altered copy, by weighted sums or products:
//! what the image shows can still be seen, among structures that no image of the data set has.

use rand::Rng;

use super::pictures::Pictures;
use crate::images::image::{CHANNELS, PIXELS, SIDE};

/// PixMix's beta, the larger of the parameters of the weights' distributions.
const BETA: f32 = 3.0;
const PLANE: usize = SIDE * SIDE;

/// Mixes pictures or altered copies into `image`, `[3, 32, 32]`: none to `most` of them, each number equally often.
pub(super) fn pixmix<R: Rng>(image: &mut [u8], most: usize, pictures: &Pictures, rng: &mut R) {
    let first = if rng.random() { altered(image, rng) } else { image.to_vec() };
    let mut mixed: Vec<f32> = first.iter().map(unit).collect();
    for _ in 0..rng.random_range(0..=most as u32) {
        if rng.random() {
            mix(&mut mixed, &altered(image, rng), rng);
        } else {
            mix(&mut mixed, pictures.any(rng), rng);
        }
    }
    for (out, value) in image.iter_mut().zip(mixed) {
        *out = byte(value * 255.0);
    }
}

fn unit(value: &u8) -> f32 {
    f32::from(*value) / 255.0
}

fn byte(value: f32) -> u8 {
    // A float cast saturates.
    (value + 0.5) as u8
}

/// The sum or the product of `image` and `other`, weighted at random, clipped to [0, 1].
fn mix<R: Rng>(image: &mut [f32], other: &[u8], rng: &mut R) {
    // The beta distributions (b, 1) and (1, b) are those of the b-th root of a uniform number, and of 1 less that.
    let mut root = || rng.random::<f32>().powf(1.0 / BETA);
    let (large, small) = (root(), 1.0 - root());
    let (of_image, of_other) = if rng.random() { (large, small) } else { (1.0 + small, large - 1.0) };
    let is_sum: bool = rng.random();
    for (value, other) in image.iter_mut().zip(other.iter().map(unit)) {
        let mixed = match is_sum {
            true => (of_image * (2.0 * *value - 1.0) + of_other * (2.0 * other - 1.0) + 1.0) / 2.0,
            // A negative power of black is white.
            false => (2.0 * *value).powf(of_image) * (2.0 * other).max(1e-3).powf(of_other) / 2.0,
        };
        *value = mixed.clamp(0.0, 1.0);
    }
}

/// A copy of `image`, turned, sheared, shifted, or changed in its levels or colours.
fn altered<R: Rng>(image: &[u8], rng: &mut R) -> Vec<u8> {
    let strength: f32 = rng.random_range(0.1..1.0);
    let signed = if rng.random() { strength } else { -strength };
    let of_each = |change: &dyn Fn(f32) -> f32| image.iter().map(|&value| byte(change(f32::from(value)))).collect();
    match rng.random_range(0..10_u32) {
        0 => {
            let (sine, cosine) = (0.5 * signed).sin_cos();
            moved(image, [cosine, -sine, sine, cosine], [0.0; 2])
        }
        1 => moved(image, [1.0, 0.3 * signed, 0.0, 1.0], [0.0; 2]),
        2 => moved(image, [1.0, 0.0, 0.3 * signed, 1.0], [0.0; 2]),
        3 => moved(image, [1.0, 0.0, 0.0, 1.0], [8.0 * signed, 0.0]),
        4 => moved(image, [1.0, 0.0, 0.0, 1.0], [0.0, 8.0 * signed]),
        5 => {
            let step = (1 << rng.random_range(3..7_u32)) as f32;
            of_each(&|value| (value / step).floor() * step)
        }
        6 => of_each(&|value| if value > 255.0 * (1.0 - 0.8 * strength) { 255.0 - value } else { value }),
        7 => image.chunks_exact(PLANE).flat_map(stretched).collect(),
        8 => {
            let mean = image.iter().map(|&value| f32::from(value)).sum::<f32>() / PIXELS as f32;
            let shift = 60.0 * rng.random_range(-1.0..1.0_f32);
            of_each(&|value| mean + (1.0 + 0.7 * signed) * (value - mean) + shift)
        }
        _ => coloured(image, 1.0 + signed),
    }
}

/// A channel whose darkest value becomes 0 and its brightest 255.
fn stretched(channel: &[u8]) -> Vec<u8> {
    let (low, high) = channel.iter().fold((255, 0), |(low, high), &value| (value.min(low), value.max(high)));
    let factor = 255.0 / f32::from((high - low).max(1));
    channel.iter().map(|&value| byte(f32::from(value - low) * factor)).collect()
}

/// `image` with so many times its colour: grey at 0.
fn coloured(image: &[u8], times: f32) -> Vec<u8> {
    let grey = |at: usize| image[at % PLANE..].iter().step_by(PLANE).map(|&value| f32::from(value)).sum::<f32>() / 3.0;
    let mixed = |(at, &value): (usize, &u8)| byte(grey(at) + times * (f32::from(value) - grey(at)));
    image.iter().enumerate().map(mixed).collect()
}

/// `image` moved: what comes to `(x, y)` from the middle was at `matrix (x, y) + shift`, between pixels in linear proportion, beyond
/// the edge the nearest.
fn moved(image: &[u8], [xx, xy, yx, yy]: [f32; 4], [right, down]: [f32; 2]) -> Vec<u8> {
    const LAST: f32 = SIDE as f32 - 1.0;
    let mut out = vec![0; PIXELS];
    for at in 0..PLANE {
        let (x, y) = ((at % SIDE) as f32 - LAST / 2.0, (at / SIDE) as f32 - LAST / 2.0);
        let [x, y] =
            [xx * x + xy * y + right, yx * x + yy * y + down].map(|place| (place + LAST / 2.0).clamp(0.0, LAST));
        let (column, row) = (x as usize, y as usize);
        let (next_column, next_row) = ((column + 1).min(SIDE - 1), (row + 1).min(SIDE - 1));
        for channel in 0..CHANNELS {
            let value = |row: usize, column: usize| f32::from(image[channel * PLANE + row * SIDE + column]);
            let line = |row| value(row, column) + x.fract() * (value(row, next_column) - value(row, column));
            out[channel * PLANE + at] = byte(line(row) + y.fract() * (line(next_row) - line(row)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::images::synthetic;

    fn image() -> Vec<u8> {
        synthetic::patterns(0..1, 7).images
    }

    #[test]
    fn moving_nowhere_changes_nothing_and_a_whole_pixel_shifts() {
        let image = image();
        assert_eq!(moved(&image, [1.0, 0.0, 0.0, 1.0], [0.0; 2]), image);
        let shifted = moved(&image, [1.0, 0.0, 0.0, 1.0], [1.0, 0.0]);
        assert_eq!(shifted[..SIDE - 1], image[1..SIDE]);
        assert_eq!(shifted[SIDE - 1], image[SIDE - 1]);
        // Half a turn.
        let turned = moved(&image, [-1.0, 0.0, 0.0, -1.0], [0.0; 2]);
        assert!(turned[..PLANE].iter().eq(image[..PLANE].iter().rev()));
    }

    #[test]
    fn levels_and_colours_change_as_said() {
        let image = image();
        let channel = stretched(&image[..PLANE]);
        assert!(channel.contains(&0) && channel.contains(&255));
        assert_eq!(stretched(&[9; PLANE]), [0; PLANE]);
        assert_eq!(coloured(&image, 1.0), image);
        let grey = coloured(&image, 0.0);
        assert!(grey[..PLANE] == grey[PLANE..2 * PLANE] && grey[..PLANE] == grey[2 * PLANE..]);
    }

    /// Sum and product of two plain images are plain; the image has the greater weight.
    #[test]
    fn mixtures_are_nearer_to_the_image() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut sum, mut nearer) = (0.0, 0);
        for _ in 0..1000 {
            let mut mixed = vec![0.75; PIXELS];
            mix(&mut mixed, &[51; PIXELS], &mut rng);
            assert!(mixed.iter().all(|value| *value == mixed[0]));
            sum += mixed[0];
            nearer += usize::from((mixed[0] - 0.75).abs() < (mixed[0] - 0.2).abs());
        }
        assert!(nearer > 800 && (0.5..0.8).contains(&(sum / 1000.0)), "{nearer} {sum}");
    }

    #[test]
    fn without_mixtures_half_the_images_stay() {
        let pictures = Pictures::new();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let stays = |most: usize, rng: &mut ChaCha8Rng| {
            let mut out = image();
            pixmix(&mut out, most, &pictures, rng);
            usize::from(out == image())
        };
        let unmixed: usize = (0..200).map(|_| stays(0, &mut rng)).sum();
        let mixed: usize = (0..200).map(|_| stays(4, &mut rng)).sum();
        assert!((70..150).contains(&unmixed) && mixed < 50, "{unmixed} {mixed}");
    }
}
