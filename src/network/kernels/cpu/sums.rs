//! The gradient of a convolution's weights: sums over images and pixels, with input channels in the place of a tile's pixels.
#![allow(clippy::needless_range_loop, reason = "iterators' closures would not be compiled for the instruction set")]

use std::ops::Range;

use super::{
    aligned::{Aligned, Scratch},
    machine::{Machine, TALL, Work, sized, unrolled},
    shape::{Axis, Shape},
    source::{Source, rows_of},
    threads::{Units, fill, fold, for_each_part, threads},
    vector::Vector,
};

/// Pixels of a group, about: so many that their gradients stay in the first-level cache.
const GROUP_PIXELS: usize = 96;

/// Bytes of sums that stay in a core's cache while all groups add to them.
const MANY_SUMS: usize = 1 << 19;

/// Filters that are written out together: a cache line of sums.
const FILTERS: usize = 16;

/// `[outputs, inputs, kernel, kernel]` from `input` `[images, height, width, inputs]` and the gradient of the output
/// `[images, height, width, outputs]`.
pub fn weight_gradient(machine: Machine, shape: &Shape, input: Source, gradient: &[f32]) -> Vec<f32> {
    let out = shape.out().expect("the caller has checked the shape");
    let pixels = (out[0] * out[1]).max(1);
    let sums = Sums {
        shape,
        out,
        axes: [0, 1].map(|axis| Axis::forward(shape, axis)),
        input,
        gradient,
        width: machine.padded(shape.outputs),
    };
    let group = (GROUP_PIXELS / pixels).max(1);
    let rows = if group > 1 { out[0] } else { (GROUP_PIXELS / out[1].max(1)).clamp(1, out[0].max(1)) };
    let units = Units { images: shape.images, height: out[0], group, rows };
    let run = |index: usize, inputs: Range<usize>, total: &mut [f32]| {
        let (images, rows) = units.of(index);
        machine.run(Unit { sums: &sums, images, rows, inputs, total });
    };
    let (inputs, outputs, taps, width) = (shape.inputs, shape.outputs, shape.taps(), sums.width);
    // Threads share the groups of pixels, or where there are many sums, the input channels.
    let pieces = (taps * inputs * width * 4).div_ceil(MANY_SUMS).max(1);
    let (piece, total) = if pieces == 1 {
        (inputs, fold(units.count(), taps * inputs * width, |index, total| run(index, 0..inputs, total)))
    } else {
        let piece = inputs.div_ceil(pieces.next_multiple_of(threads())).next_multiple_of(machine.height());
        let mut total = Aligned::zeros(taps * inputs * width);
        for_each_part(&mut total, taps * piece * width, |index, total| {
            let inputs = index * piece..((index + 1) * piece).min(inputs);
            (0..units.count()).for_each(|index| run(index, inputs.clone(), total));
        });
        (piece, total)
    };
    let filter = inputs * taps;
    fill(outputs * filter, FILTERS * filter, |index, filters| {
        for i in 0..inputs {
            let first = i / piece * piece;
            for tap in 0..taps {
                let row = taps * first + tap * piece.min(inputs - first) + i - first;
                let sums = &total[row * width + index * FILTERS..][..filters.len() / filter];
                for (o, sum) in sums.iter().enumerate() {
                    filters[o * filter + i * taps + tap] = *sum;
                }
            }
        }
    })
}

struct Sums<'a> {
    shape: &'a Shape,
    out: [usize; 2],
    axes: [Axis; 2],
    input: Source<'a>,
    gradient: &'a [f32],
    /// Output channels, with those that fill the last vector.
    width: usize,
}

/// What some rows of some images add to the `total` `[taps, inputs, width]` of some input channels.
struct Unit<'a> {
    sums: &'a Sums<'a>,
    images: Range<usize>,
    rows: Range<usize>,
    inputs: Range<usize>,
    total: &'a mut [f32],
}

impl Work for Unit<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let Sums { shape, out: [height, breadth], axes: [row_axis, column_axis], input, gradient, width } = self.sums;
        let (inputs, outputs, width) = (shape.inputs, shape.outputs, *width);
        let reach = row_axis.reach(self.rows.clone());
        let mut made = None;
        // SAFETY: the instruction set is there.
        let there = unsafe { rows_of::<V>(*input, shape.size, inputs, self.images.clone(), reach, &mut made) };
        let padded;
        // Pixels that vectors do not fill are filled up first.
        let whole = outputs == width;
        let gradient = if whole {
            *gradient
        } else {
            let rows = self.rows.len() * breadth;
            let mut buffer = Scratch::new(self.images.len() * rows * width);
            for index in 0..self.images.len() {
                let start = ((self.images.start + index) * height + self.rows.start) * breadth;
                for pixel in 0..rows {
                    let to = &mut buffer[(index * rows + pixel) * width..][..width];
                    to[..outputs].copy_from_slice(&gradient[(start + pixel) * outputs..][..outputs]);
                    to[outputs..].fill(0.0);
                }
            }
            padded = buffer;
            &padded[..]
        };
        // Where each pixel of a tap begins in both.
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for tap in 0..shape.taps() {
            pairs.clear();
            for (index, image) in self.images.clone().enumerate() {
                for row in self.rows.clone() {
                    let Some(y) = met(row_axis, row, tap / shape.kernel) else { continue };
                    let to = if whole { image * height + row } else { index * self.rows.len() + row - self.rows.start };
                    for column in 0..*breadth {
                        let Some(x) = met(column_axis, column, tap % shape.kernel) else { continue };
                        let from = ((index * there.count + y - there.first) * shape.size[1] + x) * inputs;
                        pairs.push((from, (to * breadth + column) * width));
                    }
                }
            }
            for column in (0..width).step_by(V::LANES * V::ACROSS) {
                let vectors = ((width - column) / V::LANES).min(V::ACROSS);
                let mut i = 0;
                while i < self.inputs.len() {
                    let left = self.inputs.len() - i;
                    let to = self.total[(tap * self.inputs.len() + i) * width + column..].as_mut_ptr();
                    // Few sums in a tile would wait for each other.
                    let tall = H == 6 && vectors == 1 && left >= TALL;
                    // SAFETY: the instruction set is there; pairs are within the slices, as `Axis` has it.
                    unsafe {
                        let (x, y) = (there.values.as_ptr().add(self.inputs.start + i), gradient.as_ptr().add(column));
                        if tall {
                            sum_of::<V, TALL, 1>(&pairs, x, y, to, width);
                        } else {
                            sized!(left.min(H), vectors, sum_of(&pairs, x, y, to, width));
                        }
                    }
                    i += if tall { TALL } else { H };
                }
            }
        }
    }
}

/// What a tap meets at a place.
#[inline(always)]
fn met(axis: &Axis, place: usize, tap: usize) -> Option<usize> {
    let (class, first) = axis.places[place];
    for &(of, offset) in &axis.classes[class] {
        if of == tap {
            return Some(first + offset);
        }
    }
    None
}

/// Adds to `H` x `W` vectors at `to`, `width` numbers from one row to the next, the products of `H` numbers at `x` and `W` vectors
/// at `y` over all pairs of pixels.
///
/// # Safety
/// The instruction set is there; from each pixel on there are `H` numbers at `x` and `W` vectors at `y`.
#[inline(always)]
unsafe fn sum_of<V: Vector, const H: usize, const W: usize>(
    pairs: &[(usize, usize)],
    x: *const f32,
    y: *const f32,
    to: *mut f32,
    width: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums: [[V; W]; H] = std::mem::zeroed();
        unrolled!(row < H, {
            unrolled!(column < W, {
                sums[row][column] = V::load(to.add(row * width + column * V::LANES));
            });
        });
        for &(from, at) in pairs {
            let (x, y) = (x.add(from), y.add(at));
            let mut values: [V; W] = std::mem::zeroed();
            unrolled!(column < W, {
                values[column] = V::load(y.add(column * V::LANES));
            });
            unrolled!(row < H, {
                let value = V::splat(*x.add(row));
                unrolled!(column < W, {
                    sums[row][column] = sums[row][column].add_product(value, values[column]);
                });
            });
        }
        unrolled!(row < H, {
            unrolled!(column < W, {
                sums[row][column].store(to.add(row * width + column * V::LANES));
            });
        });
    }
}
