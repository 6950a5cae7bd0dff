//! The set `patterns`: five kinds of texture and drawing without a silhouette of `shapes`, as
//! out-of-distribution data for a network trained on those.

use std::ops::Range;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::draw::{pick, unlabelled};
use super::paint::{Canvas, Colour, SmoothNoise};
use super::paint::{any_colour, contrasting_colour, direction, mix, wave};
use crate::images::dataset::ImageSet;
use crate::images::image::SIDE;

/// The images `indices` of a set of the five kinds (plasma, gratings, checkerboard, strokes, Voronoi
/// cells) in turn, in the same distribution of colours and with the same noise as
/// [`shapes`](super::shapes()).
pub fn patterns(indices: Range<usize>, seed: u64) -> ImageSet {
    unlabelled("patterns", indices, seed, |index, rng, out| {
        let ground = any_colour(rng);
        let figure = contrasting_colour(ground, rng);
        let canvas = match index % 5 {
            0 => plasma(ground, figure, rng),
            1 => gratings(ground, figure, rng),
            2 => checkerboard(ground, figure, rng),
            3 => strokes(ground, rng),
            _ => voronoi(rng),
        };
        canvas.write(rng.random_range(0.01..0.06), rng, out);
    })
}

/// Smooth noise in three octaves, with its own pattern for the second colour's share.
fn plasma(ground: Colour, figure: Colour, rng: &mut ChaCha8Rng) -> Canvas {
    let octaves = [16.0, 8.0, 4.0].map(|cell| SmoothNoise::new(cell, rng));
    let bands: f32 = rng.random_range(0.8..2.5);
    Canvas::new(|x, y| {
        let weighted = octaves.iter().zip([0.5, 0.3, 0.2]);
        let height: f32 = weighted.map(|(octave, weight)| weight * octave.at(x, y)).sum();
        mix(ground, figure, wave(bands * height))
    })
}

/// The sum of two plane waves.
fn gratings(ground: Colour, figure: Colour, rng: &mut ChaCha8Rng) -> Canvas {
    let waves: [_; 2] = std::array::from_fn(|_| {
        let (dx, dy) = direction(rng);
        let period: f32 = rng.random_range(3.0..12.0);
        (dx / period, dy / period, rng.random_range(0.0..1.0_f32))
    });
    Canvas::new(|x, y| {
        let sum: f32 = waves.iter().map(|&(dx, dy, phase)| wave(dx * x + dy * y + phase)).sum();
        mix(ground, figure, sum / 2.0)
    })
}

/// A turned checkerboard with soft edges.
fn checkerboard(ground: Colour, figure: Colour, rng: &mut ChaCha8Rng) -> Canvas {
    let (dx, dy) = direction(rng);
    let period: f32 = rng.random_range(5.0..16.0);
    let (u0, v0): (f32, f32) = (rng.random_range(0.0..1.0), rng.random_range(0.0..1.0));
    Canvas::new(|x, y| {
        let u = wave((dx * x + dy * y) / period + u0) - 0.5;
        let v = wave((dx * y - dy * x) / period + v0) - 0.5;
        mix(ground, figure, (16.0 * u * v + 0.5).clamp(0.0, 1.0))
    })
}

/// Curved pen strokes, as of handwriting.
fn strokes(ground: Colour, rng: &mut ChaCha8Rng) -> Canvas {
    let mut canvas = Canvas::new(|_, _| ground);
    for _ in 0..rng.random_range(3..8_u32) {
        let colour = contrasting_colour(ground, rng);
        let radius: f32 = rng.random_range(0.7..1.8);
        let ends: [(f32, f32); 3] = std::array::from_fn(|_| any_point(rng));
        // A quadratic Bezier curve, dotted so densely that it is a line.
        const DOTS: usize = 48;
        for dot in 0..=DOTS {
            let t = dot as f32 / DOTS as f32;
            let weights = [(1.0 - t) * (1.0 - t), 2.0 * t * (1.0 - t), t * t];
            let point = ends
                .iter()
                .zip(weights)
                .fold((0.0, 0.0), |sum, (end, weight)| (sum.0 + weight * end.0, sum.1 + weight * end.1));
            let inside = |x: f32, y: f32| (x - point.0).powi(2) + (y - point.1).powi(2) < radius * radius;
            canvas.fill(point, radius, inside, |_, _| colour);
        }
    }
    canvas
}

/// Each point in the colour of the nearest of some seeds.
fn voronoi(rng: &mut ChaCha8Rng) -> Canvas {
    let count = 5 + pick(10, rng);
    let cells: Vec<_> = (0..count).map(|_| (any_point(rng), any_colour(rng))).collect();
    let distance = |x: f32, y: f32, point: (f32, f32)| (x - point.0).powi(2) + (y - point.1).powi(2);
    Canvas::new(|x, y| {
        let nearest = cells.iter().min_by(|a, b| distance(x, y, a.0).total_cmp(&distance(x, y, b.0)));
        nearest.expect("there are at least five cells").1
    })
}

fn any_point(rng: &mut ChaCha8Rng) -> (f32, f32) {
    (rng.random_range(0.0..SIDE as f32), rng.random_range(0.0..SIDE as f32))
}
