//! Scale, shift and ReLU by channel, and what batch normalisation needs for them; maps are `[pixels, channels]`.
#![allow(clippy::needless_range_loop, reason = "iterators' closures would not be compiled for the instruction set")]

use std::ops::Range;

use super::{
    machine::{Machine, Work},
    source::{Part, activate_pixel},
    threads::{fill, sums, totals},
    vector::Vector,
};

/// Pixels that a thread takes at a time.
const PIXELS: usize = 128;

/// `max(0, input scale + shift)`.
pub fn activate(machine: Machine, input: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f32> {
    let part = PIXELS * scale.len();
    fill(input.len(), part, |index, output| {
        let input = &input[index * part..][..output.len()];
        machine.run(Activate { input, scale, shift, output });
    })
}

struct Activate<'a> {
    input: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    output: &'a mut [f32],
}

impl Work for Activate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let channels = self.scale.len();
        for start in (0..self.output.len()).step_by(channels) {
            let (input, output) = (&self.input[start..][..channels], &mut self.output[start..][..channels]);
            activate_pixel(input, self.scale, self.shift, output);
        }
    }
}

/// The gradient of the input of [`activate`] from the output and its gradient.
pub fn activate_gradient(machine: Machine, output: &[f32], scale: &[f32], gradient: &[f32]) -> Vec<f32> {
    let part = PIXELS * scale.len();
    fill(output.len(), part, |index, input| {
        let range = index * part..index * part + input.len();
        let (output, gradient) = (&output[range.clone()], &gradient[range]);
        machine.run(ActivateGradient { output, scale, gradient, input });
    })
}

struct ActivateGradient<'a> {
    output: &'a [f32],
    scale: &'a [f32],
    gradient: &'a [f32],
    input: &'a mut [f32],
}

impl Work for ActivateGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let channels = self.scale.len();
        for start in (0..self.input.len()).step_by(channels) {
            let (output, gradient) = (&self.output[start..][..channels], &self.gradient[start..][..channels]);
            let input = &mut self.input[start..][..channels];
            for channel in 0..channels {
                let value = gradient[channel] * self.scale[channel];
                input[channel] = if output[channel] == 0.0 { 0.0 } else { value };
            }
        }
    }
}

/// Mean and variance (by the number of pixels) of each of some channels.
pub fn moments(machine: Machine, input: Part, channels: usize) -> [Vec<f32>; 2] {
    let pixels = input.values.len() / input.across;
    // Of each part its sums, and the squares of what differs from its own means.
    let parts = sums(pixels.div_ceil(PIXELS), 2 * channels, |index, sums| {
        let pixels = index * PIXELS..((index + 1) * PIXELS).min(pixels);
        let (sum, square) = sums.split_at_mut(channels);
        machine.run(Moments { input, pixels, sum, square });
    });
    let mut means = vec![0.0; channels];
    let mut variances = vec![0.0; channels];
    for channel in 0..channels {
        let of = |index: usize| parts.iter().map(move |sums| f64::from(sums[index]));
        let mean = of(channel).sum::<f64>() / pixels as f64;
        let mut squares = 0.0;
        for (index, (sum, square)) in of(channel).zip(of(channels + channel)).enumerate() {
            let count = (pixels - index * PIXELS).min(PIXELS) as f64;
            squares += square + (sum / count - mean).powi(2) * count;
        }
        means[channel] = mean as f32;
        variances[channel] = (squares / pixels as f64) as f32;
    }
    [means, variances]
}

struct Moments<'a> {
    input: Part<'a>,
    pixels: Range<usize>,
    sum: &'a mut [f32],
    square: &'a mut [f32],
}

impl Work for Moments<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let channels = self.sum.len();
        let square = &mut self.square[..channels];
        for pixel in self.pixels.clone() {
            let input = self.input.channels(pixel, 0, channels);
            for channel in 0..channels {
                self.sum[channel] += input[channel];
            }
        }
        let share = 1.0 / self.pixels.len() as f32;
        for pixel in self.pixels.clone() {
            let input = self.input.channels(pixel, 0, channels);
            for channel in 0..channels {
                let difference = input[channel] - self.sum[channel] * share;
                square[channel] += difference * difference;
            }
        }
    }
}

/// One over the root of each variance plus epsilon.
pub fn inverse_deviations(variances: &[f32], epsilon: f64) -> Vec<f32> {
    variances.iter().map(|variance| (1.0 / (f64::from(*variance) + epsilon).sqrt()) as f32).collect()
}

/// Scale and shift of a normalisation by mean and inverse deviation, with `gamma` and `beta`.
pub fn affine([mean, inverse]: [&[f32]; 2], [gamma, beta]: [&[f32]; 2]) -> [Vec<f32>; 2] {
    let scale: Vec<f32> = inverse.iter().zip(gamma).map(|(inverse, gamma)| inverse * gamma).collect();
    let shift = mean.iter().zip(&scale).zip(beta).map(|((mean, scale), beta)| beta - mean * scale).collect();
    [scale, shift]
}

/// `[a, b, c]` of [`normal_gradient`] from what [`normal_sums`] gives: `gamma inverse (gradient - (sum + normal product) / pixels)`
/// by powers of the input.
pub fn factors(
    gamma: &[f32],
    [mean, inverse]: [&[f32]; 2],
    [sum, product]: [&[f32]; 2],
    pixels: usize,
) -> [Vec<f32>; 3] {
    let share = 1.0 / pixels as f32;
    let [mut a, mut b, mut c] = [(); 3].map(|()| vec![0.0; gamma.len()]);
    for channel in 0..gamma.len() {
        a[channel] = gamma[channel] * inverse[channel];
        b[channel] = -a[channel] * inverse[channel] * product[channel] * share;
        c[channel] = -a[channel] * sum[channel] * share - b[channel] * mean[channel];
    }
    [a, b, c]
}

/// Of `max(0, normal gamma + beta)` with `normal = (input - mean) / deviation`: the sums over pixels of the gradient before the ReLU,
/// which is that of `beta`, and of its product with `normal`, which is that of `gamma`.
pub fn normal_sums(
    machine: Machine,
    input: &[f32],
    output: &[f32],
    gradient: &[f32],
    [mean, scale]: [&[f32]; 2],
) -> [Vec<f32>; 2] {
    let channels = mean.len();
    let part = PIXELS * channels;
    let parts = sums(input.len().div_ceil(part), 2 * channels, |index, sums| {
        let range = index * part..((index + 1) * part).min(input.len());
        let (input, output, gradient) = (&input[range.clone()], &output[range.clone()], &gradient[range]);
        let (sum, product) = sums.split_at_mut(channels);
        machine.run(NormalSums { input, output, gradient, mean, scale, sum, product });
    });
    totals(parts.iter().map(Vec::as_slice), channels)
}

struct NormalSums<'a> {
    input: &'a [f32],
    output: &'a [f32],
    gradient: &'a [f32],
    mean: &'a [f32],
    /// One over the deviation.
    scale: &'a [f32],
    sum: &'a mut [f32],
    product: &'a mut [f32],
}

impl Work for NormalSums<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let channels = self.sum.len();
        let (mean, scale) = (&self.mean[..channels], &self.scale[..channels]);
        let product = &mut self.product[..channels];
        for start in (0..self.input.len()).step_by(channels) {
            let (input, output) = (&self.input[start..][..channels], &self.output[start..][..channels]);
            let gradient = &self.gradient[start..][..channels];
            for channel in 0..channels {
                let gradient = if output[channel] == 0.0 { 0.0 } else { gradient[channel] };
                self.sum[channel] += gradient;
                product[channel] += gradient * ((input[channel] - mean[channel]) * scale[channel]);
            }
        }
    }
}

/// The gradient of `input` in [`normal_sums`]: `a gradient + b input + c` of each channel, with the gradient before the ReLU; and
/// `a gradient` behind the first `counted` pixels, those of which mean and deviation are.
pub fn normal_gradient(
    machine: Machine,
    input: &[f32],
    output: &[f32],
    gradient: &[f32],
    factors: [&[f32]; 3],
    counted: usize,
) -> Vec<f32> {
    let channels = factors[0].len();
    let part = PIXELS * channels;
    fill(input.len(), part, |index, to| {
        let start = index * part;
        let own = (counted * channels).saturating_sub(start).min(to.len());
        let (input, output, gradient) = (&input[start..], &output[start..], &gradient[start..]);
        let (to, rest) = to.split_at_mut(own);
        machine.run(NormalGradient { input: &input[..own], output, gradient, factors, to });
        let (output, gradient) = (&output[own..], &gradient[own..]);
        machine.run(ActivateGradient { output, scale: factors[0], gradient, input: rest });
    })
}

struct NormalGradient<'a> {
    input: &'a [f32],
    output: &'a [f32],
    gradient: &'a [f32],
    factors: [&'a [f32]; 3],
    to: &'a mut [f32],
}

impl Work for NormalGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let [a, b, c] = self.factors;
        let channels = a.len();
        let (b, c) = (&b[..channels], &c[..channels]);
        for start in (0..self.input.len()).step_by(channels) {
            let (input, output) = (&self.input[start..][..channels], &self.output[start..][..channels]);
            let (gradient, to) = (&self.gradient[start..][..channels], &mut self.to[start..][..channels]);
            for channel in 0..channels {
                let gradient = if output[channel] == 0.0 { 0.0 } else { gradient[channel] };
                to[channel] = a[channel] * gradient + b[channel] * input[channel] + c[channel];
            }
        }
    }
}
