//! Batch normalisation with the ReLU that follows, and a scale and a shift for each channel.
//!
//! Sums over pixels are taken by many workgroups, a share each, in a first kernel; a second adds these up and tells what each channel
//! is to be multiplied by, and a third does so.

use burn::backend::TensorMetadata;
use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};

use super::{
    pool::{self, Behind},
    tensors::{arg, each, numbers, position, vector},
};

/// Invocations of a workgroup across channels, and down pixels.
const ACROSS: u32 = 16;
const DOWN: u32 = 16;
/// Workgroups that keep a device busy, at most so many down the pixels.
const WORKGROUPS: usize = 1024;
const MOST: usize = 128;
/// Pixels for which one more workgroup is worth its while.
const LEAST: usize = 128;

/// `max(0, input scale + shift)` of `input` `[.., channels]`, and `scale` and `shift` `[channels]`.
pub fn activate(input: CubeTensor, scale: CubeTensor, shift: CubeTensor) -> CubeTensor {
    let output = numbers(&input, input.shape());
    let channels = scale.shape().num_elements();
    let vector = vector(channels);
    let count = input.shape().num_elements() / vector;
    let (client, (cubes, dim)) = (input.client.clone(), each(count));
    if count > 0 {
        // SAFETY: an invocation beyond the last vector does nothing.
        unsafe {
            scaled::launch_unchecked(
                &client,
                cubes,
                dim,
                vector,
                arg(input, vector),
                arg(scale, vector),
                arg(shift, vector),
                arg(output.clone(), vector),
                count as u32,
                (channels / vector) as u32,
            );
        }
    }
    output
}

/// The gradient of the input, from the output of [`activate`] and its gradient.
pub fn activate_gradient(output: CubeTensor, scale: CubeTensor, gradient: CubeTensor) -> CubeTensor {
    let shape = output.shape();
    pool::gradient(gradient, Behind { finish: Some((output, scale)), relu: true, places: None }, shape)
}

#[cube(launch_unchecked)]
fn scaled<N: Size>(
    input: &[Vector<f32, N>],
    scale: &[Vector<f32, N>],
    shift: &[Vector<f32, N>],
    output: &mut [Vector<f32, N>],
    count: u32,
    channels: u32,
) {
    let at = position();
    if at < count {
        let channel = at % channels;
        let zero: Vector<f32, N> = Vector::new(0.0f32);
        let value = input[at as usize] * scale[channel as usize] + shift[channel as usize];
        // What is not a number stays so.
        output[at as usize] = select_many(value.less_than(&zero), zero, value);
    }
}

/// Output, mean and variance, which are of the first `counted` pixels.
pub fn normal(input: CubeTensor, gamma: CubeTensor, beta: CubeTensor, epsilon: f64, counted: usize) -> [CubeTensor; 3] {
    let channels = gamma.shape().num_elements();
    let partial = sums(&input, channels, counted, None);
    let [mean, variance, scale, shift] = [(); 4].map(|()| numbers(&input, [channels]));
    let (client, (cubes, dim)) = (input.client.clone(), each(channels));
    // SAFETY: an invocation beyond the last channel does nothing.
    unsafe {
        moments::launch_unchecked(
            &client,
            cubes,
            dim,
            arg(partial.clone(), 1),
            arg(gamma, 1),
            arg(beta, 1),
            arg(mean.clone(), 1),
            arg(variance.clone(), 1),
            arg(scale.clone(), 1),
            arg(shift.clone(), 1),
            (partial.shape()[0] / 2) as u32,
            channels as u32,
            counted as f32,
            epsilon as f32,
        );
    }
    [activate(input, scale, shift), mean, variance]
}

/// What the way back needs of the way there.
pub struct Normal {
    /// Of the normalisation.
    pub input: CubeTensor,
    /// Of it and the ReLU.
    pub output: CubeTensor,
    /// The scale, `[channels]`.
    pub gamma: CubeTensor,
    /// Mean and variance, `[channels]`.
    pub moments: [CubeTensor; 2],
    /// Added to the variance.
    pub epsilon: f64,
    /// How many pixels, the first ones, the moments are of.
    pub counted: usize,
}

/// The gradients of input, gamma and beta, from that of the output.
pub fn normal_gradient(normal: Normal, gradient: CubeTensor) -> [CubeTensor; 3] {
    let Normal { input, output, gamma, moments: [mean, variance], epsilon, counted } = normal;
    let (shape, channels) = (input.shape(), gamma.shape().num_elements());
    let pixels = shape.num_elements() / channels.max(1);
    let partial = sums(&input, channels, pixels, Some([&output, &gradient, &mean]));
    let [beta_gradient, gamma_gradient] = [(); 2].map(|()| numbers(&input, gamma.shape()));
    let factors = numbers(&input, [3, channels]);
    let (client, (cubes, dim)) = (input.client.clone(), each(channels));
    let result = numbers(&input, shape.clone());
    let vector = vector(channels);
    let count = shape.num_elements() / vector;
    // SAFETY: an invocation beyond the last channel, or vector, does nothing.
    unsafe {
        gradients::launch_unchecked(
            &client,
            cubes,
            dim,
            arg(partial.clone(), 1),
            arg(gamma, 1),
            arg(mean, 1),
            arg(variance, 1),
            arg(gamma_gradient.clone(), 1),
            arg(beta_gradient.clone(), 1),
            arg(factors.clone(), 1),
            (partial.shape()[0] / 2) as u32,
            channels as u32,
            counted as f32,
            epsilon as f32,
        );
        let (cubes, dim) = each(count);
        if count > 0 {
            back::launch_unchecked(
                &client,
                cubes,
                dim,
                vector,
                arg(input, vector),
                arg(output, vector),
                arg(gradient, vector),
                arg(factors, vector),
                arg(result.clone(), vector),
                count as u32,
                (channels / vector) as u32,
                (counted * channels / vector) as u32,
            );
        }
    }
    [result, gamma_gradient, beta_gradient]
}

/// `[2 parts + 1, channels]`: two sums of each part of the first `pixels`, of each channel less its first number and of its square; or,
/// with output, gradient and mean, of the gradient from behind the ReLU and of its product with the input less the mean. Last, what
/// was subtracted.
fn sums(input: &CubeTensor, channels: usize, pixels: usize, behind: Option<[&CubeTensor; 3]>) -> CubeTensor {
    let vector = vector(channels);
    let columns = (channels / vector).div_ceil(ACROSS as usize).max(1);
    let parts = (WORKGROUPS / columns).clamp(1, MOST).min(pixels / LEAST).max(1);
    let share = pixels.div_ceil(parts).max(1);
    let parts = pixels.div_ceil(share).max(1);
    let partial = numbers(input, [2 * parts + 1, channels]);
    let [output, gradient, mean] = behind.map_or([None; 3], |behind| behind.map(Some));
    let of = |tensor: Option<&CubeTensor>| tensor.map(|tensor| arg(tensor.clone(), vector)).into();
    // SAFETY: each invocation looks whether its pixels and channels are there before it reads or writes.
    unsafe {
        add::launch_unchecked(
            &input.client,
            CubeCount::Static(columns as u32, parts as u32, 1),
            CubeDim::new_1d(ACROSS * DOWN),
            vector,
            arg(input.clone(), vector),
            of(output),
            of(gradient),
            of(mean),
            arg(partial.clone(), vector),
            pixels as u32,
            share as u32,
            (channels / vector) as u32,
        );
    }
    partial
}

#[cube(launch_unchecked)]
fn add<N: Size>(
    input: &[Vector<f32, N>],
    output: ComptimeOption<&[Vector<f32, N>]>,
    gradient: ComptimeOption<&[Vector<f32, N>]>,
    mean: ComptimeOption<&[Vector<f32, N>]>,
    partial: &mut [Vector<f32, N>],
    pixels: u32,
    share: u32,
    channels: u32,
) {
    let mut shared = Shared::<[Vector<f32, N>]>::new_slice(comptime!((2 * ACROSS * DOWN) as usize));
    let channel = CUBE_POS_X * ACROSS + UNIT_POS % ACROSS;
    let zero: Vector<f32, N> = Vector::new(0.0f32);
    let mut first = zero;
    let mut second = zero;
    let mut middle = zero;
    if channel < channels {
        middle = input[channel as usize];
        #[comptime]
        match mean {
            ComptimeOption::Some(mean) => middle = mean[channel as usize],
            ComptimeOption::None => {}
        }
        let end = min((CUBE_POS_Y + 1) * share, pixels);
        let mut pixel = CUBE_POS_Y * share + UNIT_POS / ACROSS;
        while pixel < end {
            let at = (pixel * channels + channel) as usize;
            let apart = input[at] - middle;
            let mut value = apart;
            #[comptime]
            match gradient {
                ComptimeOption::Some(gradient) => value = gradient[at],
                ComptimeOption::None => {}
            }
            #[comptime]
            match output {
                ComptimeOption::Some(output) => value = select_many(output[at].less_equal(&zero), zero, value),
                ComptimeOption::None => {}
            }
            first += value;
            second += value * apart;
            pixel += DOWN;
        }
    }
    shared[UNIT_POS as usize] = first;
    shared[(UNIT_POS + ACROSS * DOWN) as usize] = second;
    sync_cube();
    // The first row adds up the first sums of the others, the second row the second ones.
    let which = UNIT_POS / ACROSS;
    if which < 2 && channel < channels {
        let mut sum = zero;
        for row in 0..DOWN {
            sum += shared[(which * ACROSS * DOWN + row * ACROSS + UNIT_POS % ACROSS) as usize];
        }
        partial[((CUBE_POS_Y * 2 + which) * channels + channel) as usize] = sum;
    }
    if CUBE_POS_Y == 0 && which == 2 && channel < channels {
        partial[(CUBE_COUNT_Y * 2 * channels + channel) as usize] = middle;
    }
}

/// The sum of a channel's parts, of the first or the second kind.
#[cube]
fn total(partial: &[f32], parts: u32, channels: u32, which: u32, channel: u32) -> f32 {
    let mut sum = 0.0f32.runtime();
    for part in 0..parts {
        sum += partial[((part * 2 + which) * channels + channel) as usize];
    }
    sum
}

#[cube(launch_unchecked)]
fn moments(
    partial: &[f32],
    gamma: &[f32],
    beta: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
    scale: &mut [f32],
    shift: &mut [f32],
    parts: u32,
    channels: u32,
    pixels: f32,
    epsilon: f32,
) {
    let channel = position();
    if channel < channels {
        let at = channel as usize;
        let apart = total(partial, parts, channels, 0u32.runtime(), channel) / pixels;
        let square = total(partial, parts, channels, 1u32.runtime(), channel) / pixels;
        let middle = partial[(2 * parts * channels + channel) as usize] + apart;
        let spread = max(square - apart * apart, 0.0f32);
        let by = gamma[at] / (spread + epsilon).sqrt();
        mean[at] = middle;
        variance[at] = spread;
        scale[at] = by;
        shift[at] = beta[at] - middle * by;
    }
}

/// The gradients of gamma and beta, and the factors `[3, channels]` of the output's gradient, of the input and of 1 in the input's.
#[cube(launch_unchecked)]
fn gradients(
    partial: &[f32],
    gamma: &[f32],
    mean: &[f32],
    variance: &[f32],
    gamma_gradient: &mut [f32],
    beta_gradient: &mut [f32],
    factors: &mut [f32],
    parts: u32,
    channels: u32,
    pixels: f32,
    epsilon: f32,
) {
    let channel = position();
    if channel < channels {
        let at = channel as usize;
        let inverse = 1.0f32 / (variance[at] + epsilon).sqrt();
        let sum = total(partial, parts, channels, 0u32.runtime(), channel);
        let product = total(partial, parts, channels, 1u32.runtime(), channel) * inverse;
        gamma_gradient[at] = product;
        beta_gradient[at] = sum;
        let of_gradient = gamma[at] * inverse;
        let of_input = -(of_gradient * inverse * product / pixels);
        factors[at] = of_gradient;
        factors[(channels + channel) as usize] = of_input;
        factors[(2 * channels + channel) as usize] = -(of_gradient * sum / pixels) - of_input * mean[at];
    }
}

#[cube(launch_unchecked)]
fn back<N: Size>(
    input: &[Vector<f32, N>],
    output: &[Vector<f32, N>],
    gradient: &[Vector<f32, N>],
    factors: &[Vector<f32, N>],
    result: &mut [Vector<f32, N>],
    count: u32,
    channels: u32,
    counted: u32,
) {
    let at = position();
    if at < count {
        let channel = at % channels;
        let index = at as usize;
        let zero: Vector<f32, N> = Vector::new(0.0f32);
        let gradient = select_many(output[index].less_equal(&zero), zero, gradient[index]);
        let mut value = gradient * factors[channel as usize];
        if at < counted {
            value += input[index] * factors[(channels + channel) as usize];
            value += factors[(2 * channels + channel) as usize];
        }
        result[index] = value;
    }
}
