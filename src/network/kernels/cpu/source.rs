//! Where kernels read their maps from: memory, or what becomes of it on the way.
#![allow(clippy::needless_range_loop, reason = "iterators' closures would not be compiled for the instruction set")]

use std::ops::Range;

use super::vector::Vector;

/// Where the numbers of maps come from, `[images, height, width, channels]`.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// They are there.
    Plain(&'a [f32]),
    /// They stand in wider pixels; copied for each group.
    Part(Part<'a>),
    /// `max(0, scale x + shift)`; made for each group.
    Activated(Activation<'a>),
    /// The gradient before `max(0, scale x + shift)`, from that after it and the result; made for each group.
    Finished { gradient: &'a [f32], output: &'a [f32], scale: &'a [f32], relu: bool },
    /// The same before a max pooling, too; `places` says which of four pixels was the largest.
    Pooled { gradient: &'a [f32], output: &'a [f32], places: &'a [u8], scale: &'a [f32], relu: bool },
}

/// The channels from the `first` on of pixels that have `across` of them.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub values: &'a [f32],
    pub first: usize,
    pub across: usize,
}

/// `max(0, scale x + shift)` of some channels.
#[derive(Clone, Copy)]
pub struct Activation<'a> {
    pub input: Part<'a>,
    /// `[channels]`
    pub scale: &'a [f32],
    /// `[channels]`
    pub shift: &'a [f32],
}

impl Part<'_> {
    /// `channels` of a pixel, from the `column` on.
    #[inline(always)]
    pub fn channels(&self, pixel: usize, column: usize, channels: usize) -> &[f32] {
        &self.values[pixel * self.across + self.first + column..][..channels]
    }
}

/// The rows of an image's source, where they are made.
///
/// # Safety
/// The instruction set is there.
#[inline(always)]
pub unsafe fn make<V: Vector>(
    source: Source,
    size: [usize; 2],
    channels: usize,
    image: usize,
    rows: Range<usize>,
    buffer: &mut [f32],
) {
    let [height, width] = size;
    // Channels that vectors hold; a build for size makes none of the loops.
    let whole = channels - channels % V::LANES;
    match source {
        Source::Plain(_) => unreachable!("read where it stands"),
        Source::Part(part) => {
            let start = (image * height + rows.start) * width;
            for pixel in 0..rows.len() * width {
                let from = part.channels(start + pixel, 0, channels);
                buffer[pixel * channels..][..channels].copy_from_slice(from);
            }
        }
        Source::Activated(Activation { input: part, scale, shift }) => {
            let start = (image * height + rows.start) * width;
            let (scale, shift) = (&scale[..channels], &shift[..channels]);
            for pixel in 0..rows.len() * width {
                let from = part.channels(start + pixel, 0, channels);
                let to = &mut buffer[pixel * channels..][..channels];
                for channel in 0..channels {
                    let value = from[channel] * scale[channel] + shift[channel];
                    // What is not a number stays so, and is found out.
                    to[channel] = if value < 0.0 { 0.0 } else { value };
                }
            }
        }
        Source::Finished { gradient, output, scale, relu } => {
            let start = (image * height + rows.start) * width * channels;
            for pixel in 0..rows.len() * width {
                let at = start + pixel * channels;
                let (gradient, output) = (&gradient[at..][..channels], &output[at..][..channels]);
                let (scale, to) = (&scale[..channels], &mut buffer[pixel * channels..][..channels]);
                let mut first = 0;
                while first < whole {
                    // SAFETY: the caller's; a vector of each is within the slices.
                    unsafe {
                        let mut value = V::load(gradient.as_ptr().add(first));
                        value = V::splat(0.0).add_product(value, V::load(scale.as_ptr().add(first)));
                        value = if relu { value.cut(V::load(output.as_ptr().add(first))) } else { value };
                        value.store(to.as_mut_ptr().add(first));
                    }
                    first += V::LANES;
                }
                for channel in whole..channels {
                    let value = gradient[channel] * scale[channel];
                    to[channel] = if relu && output[channel] == 0.0 { 0.0 } else { value };
                }
            }
        }
        Source::Pooled { gradient, output, places, scale, relu } => {
            for row in rows.clone() {
                for column in 0..width {
                    let pixel = (image * (height / 2) + row / 2) * (width / 2) + column / 2;
                    let at = pixel * channels;
                    let (gradient, output) = (&gradient[at..][..channels], &output[at..][..channels]);
                    let (scale, places) = (&scale[..channels], &places[at..][..channels]);
                    let to = &mut buffer[((row - rows.start) * width + column) * channels..][..channels];
                    let place = (row % 2 * 2 + column % 2) as u8;
                    let mut first = 0;
                    while first < whole {
                        // SAFETY: as above.
                        unsafe {
                            let mut value = V::load(gradient.as_ptr().add(first));
                            value = V::splat(0.0).add_product(value, V::load(scale.as_ptr().add(first)));
                            value = if relu { value.cut(V::load(output.as_ptr().add(first))) } else { value };
                            value.only(places.as_ptr().add(first), place).store(to.as_mut_ptr().add(first));
                        }
                        first += V::LANES;
                    }
                    for channel in whole..channels {
                        let value = gradient[channel] * scale[channel];
                        let is_cut = relu && output[channel] == 0.0;
                        to[channel] = if places[channel] != place || is_cut { 0.0 } else { value };
                    }
                }
            }
        }
    }
}
