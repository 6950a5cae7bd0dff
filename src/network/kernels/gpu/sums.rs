//! The gradient of a convolution's weights.
//!
//! A product of two matrices, whose long sums run over the images' pixels: a row for each tap and channel in, a column for each channel
//! out. The pixels are divided among workgroups; a second kernel adds up what these have found.

use burn::tensor::Shape as Sizes;
use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};

use super::tensors::{Four, arg, each, numbers, position, read, vector, write};
use crate::network::kernels::cpu::shape::Shape;

/// Pixels that are taken into a workgroup's memory at a time.
const DEPTH: u32 = 16;
/// Invocations down a tile.
const DOWN: u32 = 16;
/// Rows of an invocation, by fours.
const FOURS: u32 = 2;
/// Workgroups that keep a device busy.
const WORKGROUPS: usize = 1024;
/// Pixels for which one more workgroup is worth its while, and numbers that all of them may leave behind.
const LEAST: usize = 256;
const MOST: usize = 1 << 24;

/// `[outputs, inputs, size, size]`, from the input and the gradient of the output.
pub fn weight_gradient(shape: &Shape, input: CubeTensor, gradient: CubeTensor, weight: Sizes) -> CubeTensor {
    let [height, width] = shape.out().expect("the caller has checked the shape");
    let Shape { images, inputs, outputs, kernel, .. } = *shape;
    let (pixels, taps) = (images * height * width, shape.taps());
    let rows = taps * inputs;
    let tile = match outputs {
        0..=16 => Tile { across: 4, fours: 1 },
        17..=32 => Tile { across: 4, fours: 2 },
        _ => Tile { across: 8, fours: 2 },
    };
    let tiles = [rows.div_ceil((4 * FOURS * DOWN) as usize), outputs.div_ceil((4 * tile.across * tile.fours) as usize)];
    let parts = (WORKGROUPS / (tiles[0] * tiles[1])).min(pixels / LEAST).min(MOST / (rows * outputs)).max(1);
    // Whole steps.
    let share = pixels.div_ceil(parts).next_multiple_of(DEPTH as usize).max(DEPTH as usize);
    let parts = pixels.div_ceil(share).max(1);

    let partial = numbers(&input, [parts, rows, outputs]);
    let result = numbers(&input, weight);
    let (vector_in, vector_out) = (vector(inputs), vector(outputs));
    let client = input.client.clone();
    let of = |side: usize| side as u32;
    let extent = ExtentLaunch::new(
        of(pixels),
        of(share),
        of(shape.size[0]),
        of(shape.size[1]),
        of(inputs),
        of(height),
        of(width),
        of(outputs),
        of(kernel),
        of(shape.stride),
        of(shape.padding),
    );
    let count = rows * outputs;
    let (cubes, dim) = each(count);
    // SAFETY: each invocation looks whether its pixels, rows and channels are there before it reads or writes.
    unsafe {
        multiply::launch_unchecked(
            &client,
            CubeCount::Static(of(tiles[0]), of(tiles[1]), of(parts)),
            CubeDim::new_1d(tile.across * DOWN),
            vector_in,
            vector_out,
            arg(input, vector_in),
            arg(gradient, vector_out),
            arg(partial.clone(), vector_out),
            extent,
            tile,
            [vector_in, vector_out].map(|size| size == 4),
        );
        add_up::launch_unchecked(
            &client,
            cubes,
            dim,
            arg(partial, 1),
            arg(result.clone(), 1),
            of(parts),
            of(count),
            of(inputs),
            of(outputs),
            of(taps),
        );
    }
    result
}

/// Which channels of the output a workgroup computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tile {
    /// Invocations across.
    across: u32,
    /// Channels of an invocation, by fours.
    fours: u32,
}

/// Sizes in numbers.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
struct Extent {
    pixels: u32,
    /// Pixels of a workgroup.
    share: u32,
    height: u32,
    width: u32,
    inputs: u32,
    out_height: u32,
    out_width: u32,
    outputs: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
}

#[cube(launch_unchecked)]
fn multiply<I: Size, O: Size>(
    input: &[Vector<f32, I>],
    gradient: &[Vector<f32, O>],
    partial: &mut [Vector<f32, O>],
    extent: Extent,
    #[comptime] tile: Tile,
    #[comptime] wide: [bool; 2],
) {
    let across = comptime!(tile.across);
    let fours = comptime!(tile.fours as usize);
    let mut a = Shared::<[Four]>::new_slice(comptime!((DEPTH * DOWN * FOURS) as usize));
    let mut b = Shared::<[Four]>::new_slice(comptime!((DEPTH * tile.across * tile.fours) as usize));
    let rows = extent.kernel * extent.kernel * extent.inputs;
    let column = UNIT_POS % across;
    let row = UNIT_POS / across;
    let first_row = CUBE_POS_X * comptime!(DOWN * FOURS);
    let first_column = CUBE_POS_Y * comptime!(tile.across * tile.fours);

    // What this invocation takes into the workgroup's memory: the same rows of some pixels, and some channels of one.
    let passes = comptime!((DEPTH / tile.across) as usize);
    let parts = comptime!(if wide[0] { 1usize } else { 4usize });
    let mut channels = Sequence::<u32>::new();
    let mut ys = Sequence::<u32>::new();
    let mut xs = Sequence::<u32>::new();
    #[unroll]
    for four in 0..comptime!(FOURS as usize) {
        #[unroll]
        for part in 0..parts {
            let term = (first_row + UNIT_POS % DOWN + comptime!(four as u32 * DOWN)) * 4 + comptime!(part as u32);
            let tap = term / extent.inputs;
            channels.push(term % extent.inputs);
            // Beyond the last row nothing is met.
            ys.push(select(term < rows, tap / extent.kernel - extent.padding, 0x4000_0000u32));
            xs.push(tap % extent.kernel - extent.padding);
        }
    }

    let mut sums = Array::<Four>::new(comptime!(4 * FOURS as usize * fours));
    #[unroll]
    for at in 0..comptime!(4 * FOURS as usize * fours) {
        sums[at] = Vector::new(0.0f32);
    }
    let mut first = CUBE_POS_Z * extent.share;
    let end = min(first + extent.share, extent.pixels);
    while first < end {
        #[unroll]
        for pass in 0..passes {
            let place = UNIT_POS / DOWN + comptime!(pass as u32 * tile.across);
            let pixel = first + place;
            let x = pixel % extent.out_width * extent.stride;
            let y = pixel / extent.out_width % extent.out_height * extent.stride;
            let start = pixel / extent.out_width / extent.out_height * extent.height * extent.width;
            #[unroll]
            for four in 0..comptime!(FOURS as usize) {
                let mut value: Four = Vector::new(0.0f32);
                #[unroll]
                for part in 0..parts {
                    let at = comptime!(four * parts + part);
                    let (y, x) = (y + *ys.index(at), x + *xs.index(at));
                    if pixel < end && y < extent.height && x < extent.width {
                        let from = (start + y * extent.width + x) * extent.inputs + *channels.index(at);
                        if comptime!(wide[0]) {
                            value = Vector::cast_from(input[(from / 4) as usize]);
                        } else {
                            value.insert(part, input[from as usize].extract(0usize));
                        }
                    }
                }
                let column = UNIT_POS % DOWN + comptime!(four as u32 * DOWN);
                a[(place * comptime!(DOWN * FOURS) + column) as usize] = value;
            }
        }
        #[unroll]
        for four in 0..fours {
            let column = column + comptime!(four as u32 * tile.across);
            let mut value: Four = Vector::new(0.0f32);
            if first + row < end {
                let channel = (first_column + column) * 4;
                value = read::<O>(gradient, first + row, channel, extent.outputs, comptime!(wide[1]));
            }
            b[(row * comptime!(tile.across * tile.fours) + column) as usize] = value;
        }
        sync_cube();

        for pixel in 0..DEPTH {
            let mut right = Sequence::<Four>::new();
            #[unroll]
            for four in 0..fours {
                let column = column + comptime!(four as u32 * tile.across);
                right.push(b[(pixel * comptime!(tile.across * tile.fours) + column) as usize]);
            }
            #[unroll]
            for down in 0..comptime!(FOURS as usize) {
                let left = a[(pixel * comptime!(DOWN * FOURS) + row + comptime!(down as u32 * DOWN)) as usize];
                #[unroll]
                for part in 0..4usize {
                    #[unroll]
                    for four in 0..fours {
                        let at = comptime!((down * 4 + part) * fours + four);
                        sums[at] += Vector::new(left.extract(part)) * *right.index(four);
                    }
                }
            }
        }
        sync_cube();
        first += DEPTH;
    }

    #[unroll]
    for down in 0..comptime!(FOURS as usize) {
        #[unroll]
        for part in 0..4usize {
            let row = (first_row + row + comptime!(down as u32 * DOWN)) * 4 + comptime!(part as u32);
            #[unroll]
            for four in 0..fours {
                if row < rows {
                    let channel = (first_column + column + comptime!(four as u32 * tile.across)) * 4;
                    let value = sums[comptime!((down * 4 + part) * fours + four)];
                    write::<f32, O>(
                        partial,
                        value,
                        CUBE_POS_Z * rows + row,
                        channel,
                        extent.outputs,
                        comptime!(wide[1]),
                    );
                }
            }
        }
    }
}

/// The sum over `parts`, in the order of weights.
#[cube(launch_unchecked)]
fn add_up(partial: &[f32], output: &mut [f32], parts: u32, count: u32, inputs: u32, outputs: u32, taps: u32) {
    let at = position();
    if at < count {
        let mut sum = 0.0f32.runtime();
        let mut part = 0u32.runtime();
        while part < parts {
            sum += partial[(part * count + at) as usize];
            part += 1;
        }
        let (channel, row) = (at % outputs, at / outputs);
        output[((channel * inputs + row % inputs) * taps + row / inputs) as usize] = sum;
    }
}
