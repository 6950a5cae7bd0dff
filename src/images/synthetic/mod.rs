//! Images made by our own code, so that nothing has to be downloaded: the two noise sets of the
//! paper, a labelled set to train on ([`shapes`]) and families without labels ([`patterns`], [`fractals`],
//! [`leaves`]). Trainings with made outliers show the networks such images, too, with a seed of their own.
//!
//! Indices and a seed in, the same bytes out on every target, whichever other images are made: each
//! image has its own ChaCha stream, and the procedural sets use only arithmetic and square roots, which IEEE 754 defines to the last
//! bit.

mod draw;
mod fractals;
mod leaves;
mod noise;
mod paint;
mod patterns;
mod shapes;
#[cfg(test)]
mod tests;

pub(super) use draw::image_rng;
pub(crate) use draw::to_byte;
pub use fractals::fractals;
pub use leaves::leaves;
pub use noise::{gaussian_noise, uniform_noise};
pub use patterns::patterns;
pub use shapes::{SHAPES_TEST_SEED, shapes, unlabelled_shapes};
