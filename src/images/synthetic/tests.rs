//! The sets as a whole: bytes, moments, and how hard their classes are.

use super::*;
use crate::images::dataset::Dataset;
use crate::images::image::{CHANNELS, PIXELS, SIDE};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn moments(images: &[u8]) -> (f64, f64) {
    let n = images.len() as f64;
    let mean = images.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
    let variance = images.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
    (mean / 255.0, variance.sqrt() / 255.0)
}

fn mean_colour(image: &[u8]) -> [f64; CHANNELS] {
    std::array::from_fn(|channel| moments(&image[channel * SIDE * SIDE..][..SIDE * SIDE]).0)
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// Share of `test` whose nearest class mean over `train` in `feature` is its own class.
fn nearest_mean_accuracy<const N: usize>(train: &Dataset, test: &Dataset, feature: impl Fn(&[u8]) -> [f64; N]) -> f64 {
    let mut means = vec![[0.0; N]; train.classes.len()];
    let per_class = (train.len() / means.len()) as f64;
    for (index, &label) in train.labels.iter().enumerate() {
        let mean = &mut means[usize::from(label)];
        for (mean, value) in mean.iter_mut().zip(feature(train.image(index))) {
            *mean += value / per_class;
        }
    }
    let is_right = |index: &usize| {
        let feature = feature(test.image(*index));
        let order = |&a: &usize, &b: &usize| distance(&means[a], &feature).total_cmp(&distance(&means[b], &feature));
        (0..means.len()).min_by(order) == Some(usize::from(test.labels[*index]))
    };
    (0..test.len()).filter(is_right).count() as f64 / test.len() as f64
}

#[test]
fn uniform_noise_has_its_moments() {
    // 3e6 values: the standard error of the mean is 2e-4.
    let (mean, std) = moments(&uniform_noise(0..1000, 1).images);
    assert!((mean - 0.5).abs() < 1e-3 && (std - (1.0_f64 / 12.0).sqrt()).abs() < 1e-3);
}

#[test]
fn gaussian_noise_has_its_clipped_moments() {
    let set = gaussian_noise(0..1000, 1);
    let (mean, _) = moments(&set.images);
    // P(N(0.5, 1) > 1) = 0.308538; half a level more is rounded up to 255.
    let white = set.images.iter().filter(|&&value| value == 255).count() as f64;
    assert!((mean - 0.5).abs() < 1e-3);
    assert!((white / set.images.len() as f64 - 0.3092).abs() < 1e-3);
}

#[test]
fn same_seed_gives_the_same_bytes() {
    let pinned = [
        (uniform_noise(0..4, 3).images, "ba50bfd822d158c6f59f3d83e44ff8eee9a986e5bf96f4a9a3e2a18b289df3ed"),
        (gaussian_noise(0..4, 3).images, "1060573474329403e4cab1e7ea96993109f89f62b0240fdbc30946f14927e5a4"),
        (shapes(2, 3).images, "d80b45702af5bf7b059d41c4a0c7fd8a20b114dd6b70b564810f6cdace674582"),
        (patterns(0..20, 3).images, "615e258c368185a5d6ef498379f96b6204072fe1d509c946039d12e9a3ad409b"),
        (leaves(0..20, 3).images, "584891d1206e33666fb8957a9d373cd1afe676ffc44f65489211586fb14b0bce"),
        (fractals(0..20, 3).images, "d66ce0711dc00d2d39ba94fd180ca83e98ad1ef2a8f84ec908d3068f3600b9bc"),
    ];
    for (images, hash) in pinned {
        assert_eq!(sha256(&images), hash);
    }
}

#[test]
fn another_seed_gives_other_images_and_more_images_keep_the_first() {
    assert_ne!(shapes(1, 3).images, shapes(1, 4).images);
    assert_ne!(patterns(0..5, 3).images, patterns(0..5, 4).images);
    assert_eq!(patterns(0..5, 3).images, patterns(0..9, 3).images[..5 * PIXELS]);
    assert_ne!(leaves(0..5, 3).images, leaves(0..5, 4).images);
    assert_ne!(fractals(0..5, 3).images, fractals(0..5, 4).images);
    assert_eq!(fractals(0..5, 3).images, fractals(0..9, 3).images[..5 * PIXELS]);
    assert_eq!(shapes(1, 3).images, shapes(2, 3).images[..10 * PIXELS]);
}

proptest! {
    #[test]
    fn parts_of_a_set_are_those_of_the_whole(cuts in prop::collection::vec(0_usize..12, 2), seed: u64) {
        let (low, high) = (cuts[0].min(cuts[1]), cuts[0].max(cuts[1]));
        for generate in [uniform_noise, gaussian_noise, patterns, leaves, unlabelled_shapes] {
            let whole = generate(0..12, seed);
            let part = generate(low..high, seed);
            prop_assert_eq!(&part.images[..], &whole.images[low * PIXELS..high * PIXELS]);
            prop_assert_eq!(&part.sources[..], &whole.sources[low..high]);
        }
    }
}

#[test]
fn shapes_are_balanced_at_every_prefix() {
    let set = shapes(3, 0);
    assert_eq!((set.len(), set.classes.len()), (30, 10));
    assert!(set.labels.iter().enumerate().all(|(i, &label)| usize::from(label) == i % 10));
}

#[test]
fn mean_colour_does_not_separate_the_shapes() {
    // Chance is 0.1; a network has to look at the silhouette.
    let (train, test) = (shapes(200, 5), shapes(100, 6));
    let accuracy = nearest_mean_accuracy(&train, &test, mean_colour);
    assert!(accuracy < 0.2, "{accuracy}");
}

#[test]
fn mean_image_hardly_separates_the_shapes() {
    let (train, test) = (shapes(200, 5), shapes(100, 6));
    let pixels = |image: &[u8]| -> [f64; PIXELS] { std::array::from_fn(|i| image[i].into()) };
    let accuracy = nearest_mean_accuracy(&train, &test, pixels);
    assert!(accuracy < 0.25, "{accuracy}");
}

#[test]
fn patterns_have_the_colours_of_the_shapes() {
    let (shapes, patterns) = (shapes(100, 5), patterns(0..1000, 5));
    let ((mean_a, std_a), (mean_b, std_b)) = (moments(&shapes.images), moments(&patterns.images));
    assert!((mean_a - mean_b).abs() < 0.03, "{mean_a} {mean_b}");
    assert!((std_a - std_b).abs() < 0.05, "{std_a} {std_b}");
}
