//! What the two procedural families have in common: colours, smooth noise and a canvas.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::draw::to_byte;
use crate::images::image::SIDE;

/// Red, green, blue in [0, 1].
pub type Colour = [f32; 3];

/// A float image that is painted on and then written out as planar bytes.
pub struct Canvas {
    pixels: [Colour; SIDE * SIDE],
}

impl Canvas {
    /// `colour(x, y)` at every pixel centre; x and y in pixels, from 0.5 to 31.5.
    pub fn new(mut colour: impl FnMut(f32, f32) -> Colour) -> Self {
        Self {
            pixels: std::array::from_fn(|index| {
                let (x, y) = centre(index);
                colour(x, y)
            }),
        }
    }

    /// Lays `colour(x, y)` over each pixel within `radius` of `middle`, as opaque as the share of
    /// its 3 x 3 sample points that are `inside`.
    pub fn fill(
        &mut self,
        middle: (f32, f32),
        radius: f32,
        inside: impl Fn(f32, f32) -> bool,
        colour: impl Fn(f32, f32) -> Colour,
    ) {
        const OFFSETS: [f32; 3] = [-1.0 / 3.0, 0.0, 1.0 / 3.0];
        for (index, pixel) in self.pixels.iter_mut().enumerate() {
            let (x, y) = centre(index);
            if (x - middle.0).powi(2) + (y - middle.1).powi(2) > (radius + 1.0).powi(2) {
                continue;
            }
            let samples = OFFSETS.iter().flat_map(|dy| OFFSETS.map(|dx| (x + dx, y + dy)));
            let hits = samples.filter(|&(x, y)| inside(x, y)).count();
            if hits > 0 {
                *pixel = mix(*pixel, colour(x, y), hits as f32 / 9.0);
            }
        }
    }

    /// Adds independent normal noise of standard deviation `noise` and writes `[3, 32, 32]`.
    pub fn write(&self, noise: f32, rng: &mut ChaCha8Rng, out: &mut [u8]) {
        for (channel, plane) in out.chunks_exact_mut(SIDE * SIDE).enumerate() {
            for (out, pixel) in plane.iter_mut().zip(&self.pixels) {
                let error: f32 = StandardNormal.sample(rng);
                *out = to_byte(pixel[channel] + noise * error);
            }
        }
    }
}

fn centre(index: usize) -> (f32, f32) {
    ((index % SIDE) as f32 + 0.5, (index / SIDE) as f32 + 0.5)
}

/// Any colour of the RGB cube.
pub fn any_colour(rng: &mut ChaCha8Rng) -> Colour {
    std::array::from_fn(|_| rng.random_range(0.0..1.0))
}

/// A colour at least 0.45 from `other` (the cube's diagonal is 1.73), so that edges can be seen.
pub fn contrasting_colour(other: Colour, rng: &mut ChaCha8Rng) -> Colour {
    loop {
        let colour = any_colour(rng);
        if colour.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum::<f32>() > 0.45 * 0.45 {
            return colour;
        }
    }
}

/// `a` where `share` is 0, `b` where it is 1.
pub fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| a[channel] + share * (b[channel] - a[channel]))
}

/// A uniformly random unit vector, without trigonometry.
pub fn direction(rng: &mut ChaCha8Rng) -> (f32, f32) {
    loop {
        let (x, y): (f32, f32) = (rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0));
        let length = (x * x + y * y).sqrt();
        if (0.1..=1.0).contains(&length) {
            return (x / length, y / length);
        }
    }
}

/// A smooth wave of period 1 between 0 and 1, close to a raised sine.
pub fn wave(phase: f32) -> f32 {
    let triangle = 2.0 * (phase - phase.floor() - 0.5).abs();
    smooth_step(triangle)
}

/// 0 to 1 with level ends.
fn smooth_step(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// Random values in [0, 1] on a grid of nodes, with smooth interpolation between.
pub struct SmoothNoise {
    nodes: [f32; Self::NODES * Self::NODES],
    cell: f32,
}

impl SmoothNoise {
    const NODES: usize = 18;

    /// `cell`, the distance between nodes, is 2 pixels or more.
    pub fn new(cell: f32, rng: &mut ChaCha8Rng) -> Self {
        debug_assert!(SIDE as f32 / cell < (Self::NODES - 1) as f32, "the grid covers the image");
        Self { nodes: std::array::from_fn(|_| rng.random_range(0.0..1.0)), cell }
    }

    /// The value at a point of the image.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x / self.cell, y / self.cell);
        let (column, row) = (x as usize, y as usize);
        let (right, down) = (smooth_step(x.fract()), smooth_step(y.fract()));
        let node = |row: usize, column: usize| self.nodes[row * Self::NODES + column];
        let line = |row| node(row, column) + right * (node(row, column + 1) - node(row, column));
        line(row) + down * (line(row + 1) - line(row))
    }
}
