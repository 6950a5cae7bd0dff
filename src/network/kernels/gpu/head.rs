//! The end of a network: the largest over the pixels, and the product with a matrix.

use burn::backend::TensorMetadata;
use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};

use super::tensors::{arg, as_it_lies, each, numbers, places, position};

/// The product of `left` `[rows, depth]` and `right` `[depth, columns]`, which may be transposed views.
pub fn product(left: CubeTensor, right: CubeTensor) -> CubeTensor {
    let ([rows, depth], [_, columns]) = (left.shape().dims(), right.shape().dims());
    let output = numbers(&left, [rows, columns]);
    let (client, (cubes, dim)) = (left.client.clone(), each(rows * columns));
    let ((left, [left_row, left_column]), (right, [right_row, right_column])) = (as_it_lies(left), as_it_lies(right));
    if rows * columns > 0 {
        // SAFETY: an invocation beyond the last number does nothing.
        unsafe {
            multiply::launch_unchecked(
                &client,
                cubes,
                dim,
                left,
                right,
                arg(output.clone(), 1),
                (rows * columns) as u32,
                depth as u32,
                columns as u32,
                left_row,
                left_column,
                right_row,
                right_column,
            );
        }
    }
    output
}

#[cube(launch_unchecked)]
fn multiply(
    left: &[f32],
    right: &[f32],
    output: &mut [f32],
    count: u32,
    depth: u32,
    columns: u32,
    left_row: u32,
    left_column: u32,
    right_row: u32,
    right_column: u32,
) {
    let at = position();
    if at < count {
        let (row, column) = (at / columns, at % columns);
        let mut sum = 0.0f32.runtime();
        for term in 0..depth {
            sum += left[(row * left_row + term * left_column) as usize]
                * right[(term * right_row + column * right_column) as usize];
        }
        output[at as usize] = sum;
    }
}

/// The largest over the pixels of `input` `[images, height, width, channels]`, `[images, channels]`, and which pixel has it.
pub fn maximum(input: CubeTensor) -> (CubeTensor, CubeTensor) {
    let [images, height, width, channels] = input.shape().dims();
    let (output, told) = (numbers(&input, [images, channels]), places(&input, [images, channels]));
    let count = images * channels;
    let (client, (cubes, dim)) = (input.client.clone(), each(count));
    if count > 0 {
        // SAFETY: an invocation beyond the last number does nothing.
        unsafe {
            largest_pixel::launch_unchecked(
                &client,
                cubes,
                dim,
                arg(input, 1),
                arg(output.clone(), 1),
                arg(told.clone(), 1),
                count as u32,
                (height * width) as u32,
                channels as u32,
            );
        }
    }
    (output, told)
}

#[cube(launch_unchecked)]
fn largest_pixel(input: &[f32], output: &mut [f32], places: &mut [i32], count: u32, pixels: u32, channels: u32) {
    let at = position();
    if at < count {
        let first = at / channels * pixels * channels + at % channels;
        let mut value = input[first as usize];
        let mut place = 0u32.runtime();
        for pixel in 1..pixels {
            let next = input[(first + pixel * channels) as usize];
            if next > value {
                value = next;
                place = pixel;
            }
        }
        output[at as usize] = value;
        places[at as usize] = place as i32;
    }
}

/// The gradient of the input of [`maximum`], from that of its output.
pub fn maximum_gradient(gradient: CubeTensor, places: CubeTensor, shape: [usize; 4]) -> CubeTensor {
    let [_, height, width, channels] = shape;
    let input = numbers(&gradient, shape);
    let count = shape.iter().product::<usize>();
    let (client, (cubes, dim)) = (gradient.client.clone(), each(count));
    if count > 0 {
        // SAFETY: an invocation beyond the last number does nothing.
        unsafe {
            at_largest::launch_unchecked(
                &client,
                cubes,
                dim,
                arg(gradient, 1),
                arg(places, 1),
                arg(input.clone(), 1),
                count as u32,
                (height * width) as u32,
                channels as u32,
            );
        }
    }
    input
}

#[cube(launch_unchecked)]
fn at_largest(gradient: &[f32], places: &[i32], input: &mut [f32], count: u32, pixels: u32, channels: u32) {
    let at = position();
    if at < count {
        let (channel, pixel) = (at % channels, at / channels);
        let from = (pixel / pixels * channels + channel) as usize;
        input[at as usize] = select(places[from] as u32 == pixel % pixels, gradient[from], 0.0f32);
    }
}
