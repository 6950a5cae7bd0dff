//! Max and mean pooling of 2 x 2 pixels.
#![allow(clippy::needless_range_loop, reason = "iterators' closures would not be compiled for the instruction set")]

use super::{
    machine::{Machine, Work},
    threads::{fill, fill_both},
    vector::{Vector, is_larger},
};

/// The largest of each four of `input` `[images, height, width, channels]`, and which it was, `2 row + column`.
pub fn max_pool(machine: Machine, shape: [usize; 4], input: &[f32]) -> (Vec<f32>, Vec<u8>) {
    let [images, height, width, channels] = shape;
    let row = width / 2 * channels;
    fill_both(images * (height / 2) * row, row, |index, output, places| {
        let start = (index / (height / 2) * height + index % (height / 2) * 2) * width * channels;
        let rows = &input[start..][..2 * width * channels];
        machine.run(Largest { width, channels, rows, output, places });
    })
}

/// A row of the output, from two of the input.
struct Largest<'a> {
    width: usize,
    channels: usize,
    rows: &'a [f32],
    output: &'a mut [f32],
    places: &'a mut [u8],
}

impl Work for Largest<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let Largest { width, channels, rows, output, places } = self;
        for column in 0..width / 2 {
            let four = [0, 1, width, width + 1].map(|pixel| &rows[(2 * column + pixel) * channels..][..channels]);
            let output = &mut output[column * channels..][..channels];
            let places = &mut places[column * channels..][..channels];
            largest(four, output, places);
        }
    }
}

/// The largest of four numbers in each channel, and which of them it was.
#[inline(always)]
pub fn largest(four: [&[f32]; 4], output: &mut [f32], places: &mut [u8]) {
    let channels = output.len();
    let [first, second, third, fourth] = four.map(|pixel| &pixel[..channels]);
    let places = &mut places[..channels];
    for channel in 0..channels {
        let mut value = first[channel];
        let mut place = 0u32;
        place = if is_larger(second[channel], value) { 1 } else { place };
        value = if is_larger(second[channel], value) { second[channel] } else { value };
        place = if is_larger(third[channel], value) { 2 } else { place };
        value = if is_larger(third[channel], value) { third[channel] } else { value };
        place = if is_larger(fourth[channel], value) { 3 } else { place };
        value = if is_larger(fourth[channel], value) { fourth[channel] } else { value };
        output[channel] = value;
        places[channel] = place as u8;
    }
}

/// The gradient of an input `[images, height, width, channels]` from that of the output.
pub fn gradient(machine: Machine, shape: [usize; 4], gradient: &[f32], places: &[u8]) -> Vec<f32> {
    let [images, height, width, channels] = shape;
    let pooled = width / 2 * channels;
    fill(images * height * width * channels, width * channels, |index, input| {
        let (image, row) = (index / height, index % height);
        if row / 2 < height / 2 {
            let start = (image * (height / 2) + row / 2) * pooled;
            let (gradient, places) = (&gradient[start..][..pooled], &places[start..][..pooled]);
            machine.run(Spread { row: row % 2, channels, gradient, places, input });
        }
    })
}

/// A row of the input's gradient, which is zero where another pixel was the largest.
struct Spread<'a> {
    /// Upper or lower.
    row: usize,
    channels: usize,
    gradient: &'a [f32],
    places: &'a [u8],
    input: &'a mut [f32],
}

impl Work for Spread<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let Spread { row, channels, gradient, places, input } = self;
        for column in 0..gradient.len() / channels.max(1) {
            let gradient = &gradient[column * channels..][..channels];
            let places = &places[column * channels..][..channels];
            for side in 0..2 {
                let input = &mut input[(2 * column + side) * channels..][..channels];
                let place = (2 * row + side) as u8;
                for channel in 0..channels {
                    input[channel] = if places[channel] == place { gradient[channel] } else { 0.0 };
                }
            }
        }
    }
}

/// The mean of each four of `input` `[images, height, width, channels]`.
pub fn mean_pool(machine: Machine, shape: [usize; 4], input: &[f32]) -> Vec<f32> {
    let [images, height, width, channels] = shape;
    let row = width / 2 * channels;
    fill(images * (height / 2) * row, row, |index, output| {
        let start = (index / (height / 2) * height + index % (height / 2) * 2) * width * channels;
        let rows = &input[start..][..2 * width * channels];
        machine.run(Mean { width, channels, rows, output });
    })
}

/// A row of the output, from two of the input.
struct Mean<'a> {
    width: usize,
    channels: usize,
    rows: &'a [f32],
    output: &'a mut [f32],
}

impl Work for Mean<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let Mean { width, channels, rows, output } = self;
        for column in 0..width / 2 {
            let [first, second, third, fourth] =
                [0, 1, width, width + 1].map(|pixel| &rows[(2 * column + pixel) * channels..][..channels]);
            let output = &mut output[column * channels..][..channels];
            for channel in 0..channels {
                output[channel] = (first[channel] + second[channel] + third[channel] + fourth[channel]) * 0.25;
            }
        }
    }
}

/// The gradient of an input `[images, height, width, channels]` of [`mean_pool`] from that of the output.
pub fn mean_gradient(machine: Machine, shape: [usize; 4], gradient: &[f32]) -> Vec<f32> {
    let [images, height, width, channels] = shape;
    let pooled = width / 2 * channels;
    fill(images * height * width * channels, width * channels, |index, input| {
        let (image, row) = (index / height, index % height);
        if row / 2 < height / 2 {
            let gradient = &gradient[(image * (height / 2) + row / 2) * pooled..][..pooled];
            machine.run(Share { channels, gradient, input });
        }
    })
}

/// A row of the input's gradient.
struct Share<'a> {
    channels: usize,
    gradient: &'a [f32],
    input: &'a mut [f32],
}

impl Work for Share<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let Share { channels, gradient, input } = self;
        for column in 0..gradient.len() / channels.max(1) {
            let gradient = &gradient[column * channels..][..channels];
            for side in 0..2 {
                let input = &mut input[(2 * column + side) * channels..][..channels];
                for channel in 0..channels {
                    input[channel] = gradient[channel] * 0.25;
                }
            }
        }
    }
}
