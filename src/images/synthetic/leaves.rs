//! Dead leaves: discs that hide each other, as in a photograph things of all sizes do.

use std::ops::Range;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::draw::unlabelled;
use super::paint::{Canvas, Colour, any_colour, direction, mix, wave};
use crate::images::dataset::ImageSet;
use crate::images::image::SIDE;

/// Smallest and largest radius, in pixels.
const RADII: (f32, f32) = (1.0, 16.0);
/// Discs of an image.
const DISCS: usize = 400;

/// The images `indices` of an endless set of the dead leaves model (Lee, Mumford & Huang 2001): discs at random places, each in a
/// colour of its own or striped, whose radii have a density of r^-3, hide those that came before them.
pub fn leaves(indices: Range<usize>, seed: u64) -> ImageSet {
    unlabelled("leaves", indices, seed, |_, rng, out| {
        // Front to back: each pixel is of the first disc that covers it.
        let discs: Vec<Disc> = (0..DISCS).map(|_| Disc::new(rng)).collect();
        let ground = any_colour(rng);
        let canvas =
            Canvas::new(|x, y| discs.iter().find(|disc| disc.covers(x, y)).map_or(ground, |disc| disc.colour(x, y)));
        canvas.write(rng.random_range(0.0..0.04), rng, out);
    })
}

struct Disc {
    middle: (f32, f32),
    radius: f32,
    colours: [Colour; 2],
    /// Stripes a pixel, along each axis.
    stripes: (f32, f32),
}

impl Disc {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        // The inverse of the distribution function, which is linear in r^-2.
        let [small, large] = [RADII.0, RADII.1].map(|radius: f32| 1.0 / (radius * radius));
        let radius = 1.0 / (small + rng.random_range(0.0..1.0_f32) * (large - small)).sqrt();
        let colour = any_colour(rng);
        let (dx, dy) = direction(rng);
        let (second, period) = (any_colour(rng), rng.random_range(2.0..8.0_f32));
        Disc {
            middle: (rng.random_range(-4.0..SIDE as f32 + 4.0), rng.random_range(-4.0..SIDE as f32 + 4.0)),
            radius,
            colours: [colour, if rng.random_range(0..3_u32) == 0 { second } else { colour }],
            stripes: (dx / period, dy / period),
        }
    }

    fn covers(&self, x: f32, y: f32) -> bool {
        (x - self.middle.0).powi(2) + (y - self.middle.1).powi(2) < self.radius * self.radius
    }

    fn colour(&self, x: f32, y: f32) -> Colour {
        mix(self.colours[0], self.colours[1], wave(self.stripes.0 * x + self.stripes.1 * y))
    }
}
