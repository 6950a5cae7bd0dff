//! Where kernels read their maps from: memory, or what becomes of it on the way.
#![allow(clippy::needless_range_loop, reason = "iterators' closures would not be compiled for the instruction set")]

use std::ops::Range;

use super::{aligned::Scratch, vector::Vector};

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

/// Rows of some images one after the other.
pub struct Rows<'a> {
    pub values: &'a [f32],
    /// Which row of an image the first one is.
    pub first: usize,
    /// Rows of each image.
    pub count: usize,
}

/// The `rows` of some images at least, from where they stand or `made` of what is there.
///
/// # Safety
/// The instruction set is there.
#[inline(always)]
pub unsafe fn rows_of<'a, V: Vector>(
    source: Source<'a>,
    size: [usize; 2],
    channels: usize,
    images: Range<usize>,
    rows: Range<usize>,
    made: &'a mut Option<Scratch>,
) -> Rows<'a> {
    let row = size[1] * channels;
    if let Source::Plain(values) = source {
        let step = size[0] * row;
        return Rows { values: &values[images.start * step..images.end * step], first: 0, count: size[0] };
    }
    let step = rows.len() * row;
    let buffer = made.insert(Scratch::new(images.len() * step));
    for (index, image) in images.enumerate() {
        // SAFETY: the caller's.
        unsafe { make::<V>(source, size, channels, image, rows.clone(), &mut buffer[index * step..][..step]) };
    }
    Rows { values: buffer, first: rows.start, count: rows.len() }
}

/// The rows of an image's source, where they are made.
///
/// # Safety
/// The instruction set is there.
#[inline(always)]
unsafe fn make<V: Vector>(
    source: Source,
    size: [usize; 2],
    channels: usize,
    image: usize,
    rows: Range<usize>,
    buffer: &mut [f32],
) {
    let [height, width] = size;
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
            for pixel in 0..rows.len() * width {
                let from = part.channels(start + pixel, 0, channels);
                activate_pixel(from, scale, shift, &mut buffer[pixel * channels..][..channels]);
            }
        }
        Source::Finished { gradient, output, scale, relu } => {
            let start = (image * height + rows.start) * width * channels;
            for pixel in 0..rows.len() * width {
                let at = start + pixel * channels;
                let (gradient, to) = (&gradient[at..][..channels], &mut buffer[pixel * channels..][..channels]);
                let output = if relu { Some(&output[at..][..channels]) } else { None };
                // SAFETY: the caller's.
                unsafe { gradient_before::<V>(gradient, output, None, scale, to) };
            }
        }
        Source::Pooled { gradient, output, places, scale, relu } => {
            for row in rows.clone() {
                for column in 0..width {
                    let pixel = (image * (height / 2) + row / 2) * (width / 2) + column / 2;
                    let at = pixel * channels;
                    let to = &mut buffer[((row - rows.start) * width + column) * channels..][..channels];
                    let output = if relu { Some(&output[at..][..channels]) } else { None };
                    let place = (row % 2 * 2 + column % 2) as u8;
                    let largest = Some((&places[at..][..channels], place));
                    // SAFETY: the caller's.
                    unsafe { gradient_before::<V>(&gradient[at..][..channels], output, largest, scale, to) };
                }
            }
        }
    }
}

/// `max(0, scale x + shift)` of a pixel's channels; what is not a number stays so, and is found out.
#[inline(always)]
pub fn activate_pixel(from: &[f32], scale: &[f32], shift: &[f32], to: &mut [f32]) {
    let channels = to.len();
    let (from, scale, shift) = (&from[..channels], &scale[..channels], &shift[..channels]);
    for channel in 0..channels {
        let value = from[channel] * scale[channel] + shift[channel];
        to[channel] = if value < 0.0 { 0.0 } else { value };
    }
}

/// The gradient of a pixel's channels before `scale x + shift`: 0 where the `output` of a ReLU is 0, or where another of four
/// pixels than the one at this place was the largest.
///
/// # Safety
/// The instruction set is there.
#[inline(always)]
unsafe fn gradient_before<V: Vector>(
    gradient: &[f32],
    output: Option<&[f32]>,
    largest: Option<(&[u8], u8)>,
    scale: &[f32],
    to: &mut [f32],
) {
    let channels = to.len();
    let (gradient, scale) = (&gradient[..channels], &scale[..channels]);
    // Channels that vectors hold; a build for size makes none of the loops.
    let whole = channels - channels % V::LANES;
    let mut first = 0;
    while first < whole {
        // SAFETY: the caller's; a vector of each is within the slices.
        unsafe {
            let mut value = V::load(gradient.as_ptr().add(first));
            value = V::splat(0.0).add_product(value, V::load(scale.as_ptr().add(first)));
            if let Some(output) = output {
                value = value.cut(V::load(output.as_ptr().add(first)));
            }
            if let Some((places, place)) = largest {
                value = value.only(places.as_ptr().add(first), place);
            }
            value.store(to.as_mut_ptr().add(first));
        }
        first += V::LANES;
    }
    for channel in whole..channels {
        let is_cut = output.is_some_and(|output| output[channel] == 0.0);
        let is_other = largest.is_some_and(|(places, place)| places[channel] != place);
        to[channel] = if is_cut || is_other { 0.0 } else { gradient[channel] * scale[channel] };
    }
}
