//! The gradient of a convolution's weights: sums over images and pixels, with input channels in the place of a tile's pixels.
#![allow(clippy::needless_range_loop, reason = "iterators' closures would not be compiled for the instruction set")]

use std::ops::Range;

use super::{
    aligned::Scratch,
    machine::{Machine, Work, sized, unrolled},
    shape::{Axis, Shape},
    source::{Source, make},
    threads::{fill, fold},
    vector::Vector,
};

/// Pixels of a group, about: so many that their gradients stay in the first-level cache.
const GROUP_PIXELS: usize = 96;

/// Bytes of sums above which groups are larger, since each group reads and writes them all.
const MANY_SUMS: usize = 1 << 20;

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
    let together = if shape.taps() * shape.inputs * sums.width * 4 > MANY_SUMS { 4 } else { 1 } * GROUP_PIXELS;
    let group = (together / pixels).max(1);
    let rows = if group > 1 { out[0] } else { (together / out[1].max(1)).clamp(1, out[0].max(1)) };
    let parts = out[0].div_ceil(rows.max(1));
    let (inputs, outputs, taps) = (shape.inputs, shape.outputs, shape.taps());
    let total = fold(shape.images.div_ceil(group) * parts, taps * inputs * sums.width, |index, total| {
        let images = index / parts * group..((index / parts + 1) * group).min(shape.images);
        let rows = index % parts * rows..((index % parts + 1) * rows).min(out[0]);
        machine.run(Unit { sums: &sums, images, rows, total });
    });
    let filter = inputs * taps;
    fill(outputs * filter, FILTERS * filter, |index, filters| {
        for tap in 0..taps {
            for i in 0..inputs {
                let row = (tap * inputs + i) * sums.width + index * FILTERS;
                for (o, sum) in total[row..][..filters.len() / filter].iter().enumerate() {
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

/// What some rows of some images add to the `total` `[taps, inputs, width]`.
struct Unit<'a> {
    sums: &'a Sums<'a>,
    images: Range<usize>,
    rows: Range<usize>,
    total: &'a mut [f32],
}

impl Work for Unit<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let Sums { shape, out: [height, breadth], axes: [row_axis, column_axis], input, gradient, width } = self.sums;
        let (inputs, outputs, width) = (shape.inputs, shape.outputs, *width);
        let made;
        let reach = row_axis.reach(self.rows.clone());
        let (input, base, height_there) = match *input {
            Source::Plain(values) => {
                (&values[self.images.start * shape.size[0] * shape.size[1] * inputs..], 0, shape.size[0])
            }
            source => {
                let step = reach.len() * shape.size[1] * inputs;
                let mut buffer = Scratch::new(self.images.len() * step);
                for (index, image) in self.images.clone().enumerate() {
                    make(source, shape.size, inputs, image, reach.clone(), &mut buffer[index * step..][..step]);
                }
                made = buffer;
                (&made[..], reach.start, reach.len())
            }
        };
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
                        let from = ((index * height_there + y - base) * shape.size[1] + x) * inputs;
                        pairs.push((from, (to * breadth + column) * width));
                    }
                }
            }
            for column in (0..width).step_by(V::LANES * V::ACROSS) {
                let vectors = ((width - column) / V::LANES).min(V::ACROSS);
                for i in (0..inputs).step_by(H) {
                    let rows = (inputs - i).min(H);
                    let to = self.total[(tap * inputs + i) * width + column..].as_mut_ptr();
                    // SAFETY: the instruction set is there; pairs are within the slices, as `Axis` has it.
                    unsafe {
                        let (x, y) = (input.as_ptr().add(i), gradient.as_ptr().add(column));
                        sized!(rows, vectors, sum_of(&pairs, x, y, to, width))
                    }
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
