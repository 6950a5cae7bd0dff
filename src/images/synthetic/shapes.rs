//! The labelled set `shapes`: ten silhouettes whose colour, texture, place, size, angle and
//! surroundings are random, so that only the outline tells the class.

use std::ops::Range;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::draw::{pick, unlabelled};
use super::paint::{Canvas, Colour, SmoothNoise};
use super::paint::{any_colour, contrasting_colour, direction, mix, wave};
use crate::images::dataset::{Dataset, ImageSet};
use crate::images::image::SIDE;

/// Seed of the test set of [`shapes`].
pub const SHAPES_TEST_SEED: u64 = 2;

/// A labelled set of 10 classes with `n_per_class` images each, classes in turn, 32 x 32 RGB.
///
/// Made for learning without a download: mean colour says nothing about the class, and a small
/// convolutional network learns it from a few thousand images.
pub fn shapes(n_per_class: usize, seed: u64) -> Dataset {
    let n = n_per_class * SILHOUETTES.len();
    Dataset {
        images: unlabelled_shapes(0..n, seed).images,
        labels: (0..SILHOUETTES.len() as u16).cycle().take(n).collect(),
        classes: SILHOUETTES.iter().map(|&(class, _)| class.to_owned()).collect(),
    }
}

/// The images `indices` of [`shapes`], of as many as there may be, without their labels.
pub fn unlabelled_shapes(indices: Range<usize>, seed: u64) -> ImageSet {
    unlabelled("shapes", indices, seed, |index, rng, out| {
        let (_, silhouette) = SILHOUETTES[index % SILHOUETTES.len()];
        paint(silhouette, rng, out);
    })
}

/// Whether a point lies in the silhouette; its extent is the unit disc, y points down.
type Silhouette = fn(f32, f32) -> bool;

const SILHOUETTES: [(&str, Silhouette); 10] = [
    ("arrow", arrow),
    ("crescent", crescent),
    ("cross", cross),
    ("disc", disc),
    ("heart", heart),
    ("hourglass", hourglass),
    ("ring", ring),
    ("square", square),
    ("star", star),
    ("triangle", triangle),
];

/// One image: a textured background, clutter, the silhouette, noise.
fn paint(silhouette: Silhouette, rng: &mut ChaCha8Rng, out: &mut [u8]) {
    let ground = any_colour(rng);
    let figure = contrasting_colour(ground, rng);
    let background = texture(ground, rng);
    let foreground = texture(figure, rng);

    let mut canvas = Canvas::new(&background);
    for _ in 0..rng.random_range(2..6_u32) {
        clutter(&mut canvas, rng);
    }
    place(&mut canvas, rng.random_range(7.0..12.0), silhouette, foreground, rng);
    canvas.write(rng.random_range(0.01..0.06), rng, out);
}

/// A small piece of a thing in any colour: a bar or a blob.
fn clutter(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let colour = any_colour(rng);
    let thickness = rng.random_range(0.15..0.9_f32);
    let bar = move |x: f32, y: f32| y.abs() < thickness && disc(x, y);
    let middle = (rng.random_range(0.0..SIDE as f32), rng.random_range(0.0..SIDE as f32));
    stamp(canvas, middle, rng.random_range(1.5..4.5), bar, move |_, _| colour, rng);
}

/// Paints the silhouette with `radius` pixels wholly inside the image.
fn place(
    canvas: &mut Canvas,
    radius: f32,
    silhouette: Silhouette,
    colour: impl Fn(f32, f32) -> Colour,
    rng: &mut ChaCha8Rng,
) {
    let room = radius..SIDE as f32 - radius;
    let middle = (rng.random_range(room.clone()), rng.random_range(room));
    stamp(canvas, middle, radius, silhouette, colour, rng);
}

/// Paints `inside`, turned by a random angle and squeezed by up to a fifth, around `middle`.
fn stamp(
    canvas: &mut Canvas,
    middle: (f32, f32),
    radius: f32,
    inside: impl Fn(f32, f32) -> bool,
    colour: impl Fn(f32, f32) -> Colour,
    rng: &mut ChaCha8Rng,
) {
    let (cos, sin) = direction(rng);
    let squeeze: f32 = rng.random_range(0.8..1.0);
    let turned = |x: f32, y: f32| {
        let (dx, dy) = ((x - middle.0) / radius, (y - middle.1) / radius);
        inside((cos * dx + sin * dy) / squeeze, cos * dy - sin * dx)
    };
    canvas.fill(middle, radius, turned, colour);
}

/// A gradient, blotches or stripes between a colour and one not far from it.
fn texture(colour: Colour, rng: &mut ChaCha8Rng) -> impl Fn(f32, f32) -> Colour + use<> {
    let second = mix(colour, any_colour(rng), rng.random_range(0.1..0.35));
    let (dx, dy) = direction(rng);
    let blotches = SmoothNoise::new(rng.random_range(4.0..10.0), rng);
    let period: f32 = rng.random_range(3.0..9.0);
    let kind = pick(3, rng);
    move |x, y| {
        let along = dx * (x - 16.0) + dy * (y - 16.0);
        let share = match kind {
            0 => 0.5 + along / 45.3, // half the image's diagonal is 22.6 pixels
            1 => blotches.at(x, y),
            _ => wave(along / period),
        };
        mix(colour, second, share)
    }
}

fn disc(x: f32, y: f32) -> bool {
    x * x + y * y < 1.0
}

fn ring(x: f32, y: f32) -> bool {
    let square = x * x + y * y;
    0.3 < square && square < 1.0
}

fn crescent(x: f32, y: f32) -> bool {
    disc(x, y) && (x - 0.5).powi(2) + y * y > 0.6
}

fn square(x: f32, y: f32) -> bool {
    x.abs().max(y.abs()) < 0.71
}

/// Two bars, 0.56 wide.
fn cross(x: f32, y: f32) -> bool {
    x.abs().max(y.abs()) < 0.95 && x.abs().min(y.abs()) < 0.28
}

/// Equilateral, corners on the unit circle.
fn triangle(x: f32, y: f32) -> bool {
    const SQRT_3: f32 = 1.732_050_8;
    y < 0.5 && SQRT_3 * x.abs() < y + 1.0
}

/// Two triangles that meet in the middle.
fn hourglass(x: f32, y: f32) -> bool {
    y.abs() < 0.75 && x.abs() < 0.85 * y.abs() + 0.05
}

/// A head over a shaft.
fn arrow(x: f32, y: f32) -> bool {
    let head = (-0.95..0.0).contains(&y) && x.abs() < 0.8 * (y + 0.95);
    let shaft = (0.0..0.95).contains(&y) && x.abs() < 0.24;
    head || shaft
}

/// The curve (u^2 + v^2 - 1)^3 = u^2 v^3, scaled to the unit disc.
fn heart(x: f32, y: f32) -> bool {
    let (u, v) = (1.22 * x, 0.12 - 1.12 * y);
    let ball = u * u + v * v - 1.0;
    ball * ball * ball < u * u * v * v * v
}

/// A pentagram: the points on the inner side of at least four of its five lines.
fn star(x: f32, y: f32) -> bool {
    /// Unit normals of the lines, at 90 + 72 k degrees; y points down.
    const NORMALS: [(f32, f32); 5] = [
        (0.0, 1.0),
        (-0.951_056_5, 0.309_017),
        (-0.587_785_25, -0.809_017),
        (0.587_785_25, -0.809_017),
        (0.951_056_5, 0.309_017),
    ];
    /// Distance of the lines from the centre when the tips lie on the unit circle, cos 72 degrees.
    const DISTANCE: f32 = 0.309_017;
    let beyond = |&&(nx, ny): &&(f32, f32)| nx * x + ny * y > DISTANCE;
    NORMALS.iter().filter(beyond).count() <= 1
}
