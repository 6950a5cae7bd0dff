//! The two noise sets of the paper.

use std::ops::Range;

use rand_distr::{Distribution, Normal, Uniform};

use super::draw::{to_byte, unlabelled};
use crate::images::dataset::ImageSet;

/// The images `indices` of a set whose values are independent and uniform on [0, 1], rounded to 8
/// bits; the set "uniform" (Liang et al. 2018, Vyas et al. 2018).
pub fn uniform_noise(indices: Range<usize>, seed: u64) -> ImageSet {
    let unit = Uniform::new_inclusive(0.0, 1.0).expect("0 is less than 1");
    noise("uniform", indices, seed, unit)
}

/// The images `indices` of a set whose values are independent and normal with mean 0.5 and standard
/// deviation 1, clipped to [0, 1] and rounded to 8 bits; the set "gaussian" (Liang et al. 2018,
/// Vyas et al. 2018).
pub fn gaussian_noise(indices: Range<usize>, seed: u64) -> ImageSet {
    let normal = Normal::new(0.5, 1.0).expect("1 is a standard deviation");
    noise("gaussian", indices, seed, normal)
}

fn noise(name: &str, indices: Range<usize>, seed: u64, values: impl Distribution<f32>) -> ImageSet {
    unlabelled(name, indices, seed, |_, rng, out| {
        for out in out {
            *out = to_byte(values.sample(rng));
        }
    })
}
