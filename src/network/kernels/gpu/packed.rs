//! Weights in the order in which the kernels read them.

use burn::backend::TensorMetadata;
use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};

use super::tensors::{arg, each, numbers, position};

/// `[taps, inputs, outputs]` of a convolution; for the way back with the two exchanged and the taps turned round.
#[derive(Clone, Debug)]
pub struct Packed(pub(super) CubeTensor);

impl Packed {
    /// Of `weight` `[outputs, inputs, size, size]`.
    pub fn forward(weight: CubeTensor) -> Self {
        let [outputs, inputs, size, _] = weight.shape().dims();
        let taps = size * size;
        packed(weight, [taps, inputs, outputs], [1, taps, inputs * taps], 0)
    }

    /// The same for the gradient of the input.
    pub fn backward(weight: CubeTensor) -> Self {
        let [outputs, inputs, size, _] = weight.shape().dims();
        let taps = size * size;
        packed(weight, [taps, outputs, inputs], [usize::MAX, inputs * taps, taps], taps - 1)
    }
}

/// Weights for both ways.
#[derive(Debug)]
pub struct Filters {
    /// `[outputs, inputs, size, size]`.
    pub shape: [usize; 4],
    /// For the way there.
    pub forward: Packed,
    /// For the gradient of the input.
    pub backward: Packed,
}

impl Filters {
    /// Of `weight` `[outputs, inputs, size, size]`.
    pub fn new(weight: CubeTensor) -> Self {
        let shape = weight.shape().dims();
        Filters { shape, forward: Packed::forward(weight.clone()), backward: Packed::backward(weight) }
    }
}

/// A matrix for each tap, from numbers that lie `strides` apart, in wrapping arithmetic, the first of them at `start`.
fn packed(weight: CubeTensor, shape: [usize; 3], strides: [usize; 3], start: usize) -> Packed {
    let output = numbers(&weight, shape);
    let count = shape.iter().product();
    let (client, (cubes, dim)) = (weight.client.clone(), each(count));
    let [_, rows, columns] = shape.map(|side| side as u32);
    let [tap, row, column] = strides.map(|stride| stride as u32);
    // SAFETY: an invocation beyond the last number does nothing.
    unsafe {
        pack::launch_unchecked(
            &client,
            cubes,
            dim,
            arg(weight, 1),
            arg(output.clone(), 1),
            count as u32,
            rows,
            columns,
            tap,
            row,
            column,
            start as u32,
        );
    }
    Packed(output)
}

#[cube(launch_unchecked)]
fn pack(
    weight: &[f32],
    output: &mut [f32],
    count: u32,
    rows: u32,
    columns: u32,
    by_tap: u32,
    by_row: u32,
    by_column: u32,
    start: u32,
) {
    let at = position();
    if at < count {
        let (column, row, tap) = (at % columns, at / columns % rows, at / columns / rows);
        output[at as usize] = weight[(start + tap * by_tap + row * by_row + column * by_column) as usize];
    }
}
