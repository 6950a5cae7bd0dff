//! The set `fractals`: attractors of random systems of contractions.

use std::ops::Range;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::draw::{pick, unlabelled};
use super::paint::{Canvas, Colour, any_colour, contrasting_colour, direction, mix};
use crate::images::dataset::ImageSet;
use crate::images::image::SIDE;

/// Points that are drawn.
const POINTS: usize = 6_000;
/// Points before them, in which the orbit comes to the attractor.
const AHEAD: usize = 50;
/// Points of a pixel that make it opaque.
const OPAQUE: f32 = 12.0;
/// The least share of the pixels that an attractor covers; others are drawn anew.
const LEAST: f32 = 0.1;

/// The images `indices` of an endless set: in each two to four affine contractions of the plane, chosen at random again and again,
/// draw their attractor (Barnsley 1988), with a colour for each, over a plain ground.
pub fn fractals(indices: Range<usize>, seed: u64) -> ImageSet {
    unlabelled("fractals", indices, seed, |_, rng, out| {
        let ground = any_colour(rng);
        let attractor = loop {
            let attractor = Attractor::new(ground, rng);
            if attractor.covers() >= LEAST {
                break attractor;
            }
        };
        let canvas = Canvas::new(|x, y| {
            let (colour, points) = attractor.pixels[y as usize * SIDE + x as usize];
            mix(ground, colour, (points / OPAQUE).min(1.0).sqrt())
        });
        canvas.write(rng.random_range(0.0..0.04), rng, out);
    })
}

/// An affine contraction of the plane, and the colour of what it moves.
struct Contraction {
    /// `[xx, xy, yx, yy]`
    matrix: [f32; 4],
    shift: [f32; 2],
    colour: Colour,
}

impl Contraction {
    /// A turn, a shrinking along each axis, of which one may be turned over, and another turn.
    fn new(ground: Colour, rng: &mut ChaCha8Rng) -> Self {
        let [(c, s), (d, t)] = [direction(rng), direction(rng)];
        let (first, second): (f32, f32) = (rng.random_range(0.3..0.85), rng.random_range(-0.85..0.85));
        let matrix = [
            c * first * d - s * second * t,
            -c * first * t - s * second * d,
            s * first * d + c * second * t,
            -s * first * t + c * second * d,
        ];
        let shift = [rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)];
        Contraction { matrix, shift, colour: contrasting_colour(ground, rng) }
    }

    fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let ([xx, xy, yx, yy], [right, down]) = (self.matrix, self.shift);
        [xx * x + xy * y + right, yx * x + yy * y + down]
    }
}

/// The mean colour of each pixel's points, and how many they are.
struct Attractor {
    pixels: [(Colour, f32); SIDE * SIDE],
}

impl Attractor {
    fn new(ground: Colour, rng: &mut ChaCha8Rng) -> Self {
        let contractions: Vec<Contraction> = (0..2 + pick(3, rng)).map(|_| Contraction::new(ground, rng)).collect();
        let (mut point, mut colour, mut points) = ([0.0; 2], ground, Vec::with_capacity(POINTS));
        for step in 0..AHEAD + POINTS {
            let contraction = &contractions[pick(contractions.len(), rng)];
            point = contraction.apply(point);
            colour = mix(colour, contraction.colour, 0.5);
            if step >= AHEAD {
                points.push((point, colour));
            }
        }
        // As large as the image, with the same scale both ways.
        let ends = |axis: usize| {
            let values = || points.iter().map(|(point, _)| point[axis]);
            (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max))
        };
        let [(left, right), (top, bottom)] = [ends(0), ends(1)];
        let scale = SIDE as f32 / (right - left).max(bottom - top).max(1e-3) * 0.999;
        let mut pixels = [([0.0; 3], 0.0); SIDE * SIDE];
        for ([x, y], colour) in points {
            let place = |value: f32, low: f32, high: f32| {
                (((value - low - (high - low) / 2.0) * scale + SIDE as f32 / 2.0) as usize).min(SIDE - 1)
            };
            let (mean, count) = &mut pixels[place(y, top, bottom) * SIDE + place(x, left, right)];
            *count += 1.0;
            *mean = mix(*mean, colour, 1.0 / *count);
        }
        Attractor { pixels }
    }

    /// The share of the pixels that have a point.
    fn covers(&self) -> f32 {
        let covered = self.pixels.iter().filter(|(_, points)| *points > 0.0).count();
        covered as f32 / self.pixels.len() as f32
    }
}
