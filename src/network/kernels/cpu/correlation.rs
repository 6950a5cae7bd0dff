//! A sum over taps and channels at each place out, which is what a convolution is in this field, with what follows it.
//!
//! Maps have all channels of a pixel side by side, `[images, height, width, channels]`, so that what a tap meets is one run of
//! memory. A tile is as many pixels high and as many vectors of output channels wide as registers hold sums. Pixels whose taps
//! meet the same neighbours form lists, over several images where maps are small, and tiles are cut from these. Threads take
//! groups of images, or some rows of an image.
#![allow(clippy::needless_range_loop, reason = "iterators' closures would not be compiled for the instruction set")]

use std::ops::Range;

use super::{
    aligned::{Aligned, Scratch},
    machine::{Machine, TALL, Work, sized, unrolled},
    packed::{self, Packed},
    pool::largest,
    shape::{Axis, Class, Shape},
    source::{Activation, Rows, Source, rows_of},
    threads::{Units, for_each, threads, totals},
    vector::{Vector, is_larger},
};

/// Pixels of one group of images, about, where there are as many.
const GROUP_PIXELS: usize = 256;

/// Which pixels of a source go to which of the output.
pub struct Correlation {
    images: usize,
    source: [usize; 2],
    channels: usize,
    out: [usize; 2],
    outputs: usize,
    axes: [Axis; 2],
    kernel: usize,
}

/// What becomes of the sums.
#[derive(Clone, Copy)]
pub enum Then<'a> {
    /// They are the output.
    Nothing,
    /// What [`Finish`] says.
    Finish(Finish<'a>),
    /// `a sum + b x + c` is added to the output, for `[a, b, c]` of each channel and the input `x` of an activation, where the sum
    /// counts only if that is above 0: the gradient of the activation's input joins others.
    Add(Activation<'a>, [&'a [f32]; 3]),
    /// See [`Correlation::sums`], which has a target of its own.
    Sums(Activation<'a>, [&'a [f32]; 2]),
}

/// `max(0, scale sum + shift)` for each channel, of the largest sum of each 2 x 2 pixels where they are pooled.
#[derive(Clone, Copy)]
pub struct Finish<'a> {
    /// `[outputs]`
    pub scale: &'a [f32],
    /// `[outputs]`
    pub shift: &'a [f32],
    pub relu: bool,
    pub pool: bool,
    /// Whether to say which of the four was the largest.
    pub places: bool,
}

/// What comes of it.
pub struct Output {
    /// `[images, height, width, outputs]`, half as high and wide where pooled.
    pub values: Vec<f32>,
    /// Where the largest of each four was, `2 row + column`, if asked for.
    pub places: Vec<u8>,
}

impl Correlation {
    /// The output of a convolution, from its input.
    pub fn forward(shape: &Shape) -> Self {
        Correlation {
            images: shape.images,
            source: shape.size,
            channels: shape.inputs,
            out: shape.out().expect("the caller has checked the shape"),
            outputs: shape.outputs,
            axes: [0, 1].map(|axis| Axis::forward(shape, axis)),
            kernel: shape.kernel,
        }
    }

    /// The gradient of the input, from that of the output.
    pub fn backward(shape: &Shape) -> Self {
        Correlation {
            images: shape.images,
            source: shape.out().expect("the caller has checked the shape"),
            channels: shape.outputs,
            out: shape.size,
            outputs: shape.inputs,
            axes: [0, 1].map(|axis| Axis::backward(shape, axis)),
            kernel: shape.kernel,
        }
    }

    /// Computes it.
    pub fn run(&self, weights: &Packed, source: Source, then: Then) -> Output {
        let (pool, places) = match then {
            Then::Finish(finish) => (finish.pool, finish.pool && finish.places),
            _ => (false, false),
        };
        let pixels = self.images * self.out[0] * self.out[1];
        let written = self.outputs * if pool { pixels / 4 } else { pixels };
        let mut output = Output {
            values: Vec::with_capacity(written),
            places: Vec::with_capacity(if places { written } else { 0 }),
        };
        let (values, places) = (output.values.as_mut_ptr(), output.places.as_mut_ptr());
        // SAFETY: there is room for all pixels, each of which is written, with its place if it is asked for.
        unsafe {
            self.write(weights, source, then, Target { values, places, across: self.outputs });
            output.values.set_len(written);
            output.places.set_len(output.places.capacity().min(written));
        }
        output
    }

    /// Computes it for the channels from the `first` on of pixels that have `across` of them; nothing is pooled.
    pub fn run_into(&self, weights: &Packed, source: Source, then: Then, to: &mut [f32], first: usize, across: usize) {
        assert!(first + self.outputs <= across && !matches!(then, Then::Finish(Finish { pool: true, .. })));
        assert_eq!(to.len(), self.images * self.out[0] * self.out[1] * across);
        // SAFETY: there is room for all pixels.
        unsafe {
            let values = to.as_mut_ptr().add(first);
            self.write(weights, source, then, Target { values, places: std::ptr::null_mut(), across });
        }
    }

    /// For each channel of the gradient of an activation's output: its sum over pixels where the activation is above 0, and that of its
    /// product with `(x - mean) scale`, for `[mean, scale]` and the activation's input `x`.
    pub fn sums(&self, weights: &Packed, source: Source, of: Activation, normal: [&[f32]; 2]) -> [Vec<f32>; 2] {
        let (units, row) = (self.units(weights.machine, false).count(), 2 * self.outputs);
        let mut values = vec![0.0; units * row];
        let target = Target { values: values.as_mut_ptr(), places: std::ptr::null_mut(), across: row };
        // SAFETY: there is a row for each unit.
        unsafe { self.write(weights, source, Then::Sums(of, normal), target) };
        totals(values.chunks_exact(row.max(1)), self.outputs)
    }

    /// Several small maps, or some rows of a large one, so that all threads have something to do.
    fn units(&self, machine: Machine, pool: bool) -> Units {
        let [height, width] = self.out;
        let pixels = (height * width).max(1);
        let share = (self.images * pixels).div_ceil(threads()).clamp(1, GROUP_PIXELS);
        let group = (share / pixels).max(1);
        let group = if group > 1 { group.next_multiple_of(machine.height()) } else { 1 };
        let parts = if group > 1 { 1 } else { pixels.div_ceil(share) };
        let rows = height.div_ceil(parts);
        let rows = if pool { rows.next_multiple_of(2) } else { rows };
        Units { images: self.images, height, group, rows }
    }

    /// # Safety
    /// The target has room for all pixels.
    unsafe fn write(&self, weights: &Packed, source: Source, then: Then, target: Target) {
        assert_eq!((weights.inputs, weights.outputs), (self.channels, self.outputs));
        let machine = weights.machine;
        if self.images * self.out[0] * self.out[1] * self.outputs == 0 {
            return;
        }
        let finish = match then {
            Then::Finish(finish) => Some(finish),
            _ => None,
        };

        let padded = |values: &[f32]| {
            let mut padded = Aligned::zeros(machine.padded(values.len()));
            padded[..values.len()].copy_from_slice(values);
            padded
        };
        let affine = finish.map(|finish| [padded(finish.scale), padded(finish.shift)]);
        let runs = self.runs(weights);
        let plan = Plan { correlation: self, weights, source, then, affine: affine.as_ref(), runs: &runs, target };
        let units = self.units(machine, finish.is_some_and(|finish| finish.pool));
        for_each(units.count(), |index| {
            let (images, rows) = units.of(index);
            machine.run(Unit { plan: &plan, index, images, rows });
        });
    }

    /// For each chunk of the weights, and each pair of classes of rows and columns, the runs of memory that tiles read.
    fn runs(&self, weights: &Packed) -> Vec<Vec<Vec<Run>>> {
        let [rows, columns] = &self.axes;
        let of = |chunk: &Vec<packed::Part>| {
            let pairs = rows.classes.iter().flat_map(|row| columns.classes.iter().map(move |column| (row, column)));
            let runs = |(row, column): (&Class, &Class)| {
                let mut weight = 0;
                let mut runs: Vec<Run> = Vec::new();
                for part in chunk {
                    let met =
                        |axis: &[(usize, usize)], tap: usize| axis.iter().find(|met| met.0 == tap).map(|met| met.1);
                    if let Some(y) = met(row, part.tap / self.kernel)
                        && let Some(x) = met(column, part.tap % self.kernel)
                    {
                        let offset = (y * self.source[1] + x) * self.channels + part.first;
                        match runs.last_mut() {
                            // Taps of a row meet numbers side by side.
                            Some(last) if [last.offset, last.weight].map(|at| at + last.length) == [offset, weight] => {
                                last.length += part.length;
                            }
                            _ => runs.push(Run { offset, length: part.length, weight }),
                        }
                    }
                    weight += part.length;
                }
                runs
            };
            pairs.map(runs).collect()
        };
        weights.chunks.iter().map(of).collect()
    }
}

/// Numbers side by side that meet weights side by side.
#[derive(Clone, Copy)]
struct Run {
    /// From the pixel's first number.
    offset: usize,
    length: usize,
    /// Rows of weights from the chunk's first.
    weight: usize,
}

/// What all units of a correlation share.
struct Plan<'a> {
    correlation: &'a Correlation,
    weights: &'a Packed,
    source: Source<'a>,
    then: Then<'a>,
    /// Scale and shift of a [`Finish`], filled up to whole vectors.
    affine: Option<&'a [Aligned; 2]>,
    runs: &'a [Vec<Vec<Run>>],
    target: Target,
}

/// Some rows of some images.
struct Unit<'a> {
    plan: &'a Plan<'a>,
    index: usize,
    images: Range<usize>,
    rows: Range<usize>,
}

/// Pixels of one class.
struct List {
    class: usize,
    /// Where each begins in the source, and its index in the output.
    pixels: Vec<(usize, usize)>,
    first_chunk: usize,
    last_chunk: usize,
}

impl Unit<'_> {
    /// The pixels by class.
    fn lists(&self, there: &Rows, local: bool) -> Vec<List> {
        let correlation = self.plan.correlation;
        let [rows, columns] = &correlation.axes;
        let (channels, [height, width]) = (correlation.channels, correlation.out);
        let row_length = correlation.source[1] * channels;
        let mut lists = Vec::with_capacity(rows.classes.len() * columns.classes.len());
        for class in 0..rows.classes.len() * columns.classes.len() {
            let (row_class, column_class) = (class / columns.classes.len(), class % columns.classes.len());
            let chunks = self.plan.runs;
            let is_met = |chunk: &usize| !chunks[*chunk][class].is_empty();
            let first_chunk = (0..chunks.len()).find(is_met).unwrap_or(0);
            let last_chunk = (0..chunks.len()).rev().find(is_met).unwrap_or(0);
            let mut pixels = Vec::new();
            for image in 0..self.images.len() {
                let first = if local { image * self.rows.len() } else { (self.images.start + image) * height };
                for row in self.rows.clone() {
                    let (of, y) = rows.places[row];
                    if of != row_class {
                        continue;
                    }
                    let to = (first + if local { row - self.rows.start } else { row }) * width;
                    let from = (image * there.count + y.saturating_sub(there.first)) * row_length;
                    for column in 0..width {
                        let (of, x) = columns.places[column];
                        if of == column_class {
                            pixels.push((from + x * channels, to + column));
                        }
                    }
                }
            }
            if !pixels.is_empty() {
                lists.push(List { class, pixels, first_chunk, last_chunk });
            }
        }
        lists
    }
}

impl Work for Unit<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector, const H: usize>(self) {
        let plan = self.plan;
        let (correlation, weights) = (plan.correlation, plan.weights);
        let [height, width] = correlation.out;
        let outputs = correlation.outputs;
        let reach = correlation.axes[0].reach(self.rows.clone());
        let mut made = None;
        // SAFETY: the instruction set is there.
        let there = unsafe {
            rows_of::<V>(plan.source, correlation.source, correlation.channels, self.images.clone(), reach, &mut made)
        };
        let source = there.values;

        // Straight to the output where nothing but scale, shift and ReLU follows and vectors fill its pixels.
        let (straight, relu) = match plan.then {
            Then::Nothing => (outputs.is_multiple_of(V::LANES), false),
            Then::Finish(finish) => (outputs.is_multiple_of(V::LANES) && !finish.pool, finish.relu),
            Then::Add(..) | Then::Sums(..) => (false, false),
        };
        let lists = self.lists(&there, !straight);
        let pixels = self.images.len() * self.rows.len() * width;
        let block = V::LANES * V::ACROSS;
        let mut sums = Scratch::new(if straight { 0 } else { pixels * block });
        let mut packed = &weights.values[..];
        for column in (0..outputs).step_by(block) {
            let vectors = (outputs - column).div_ceil(V::LANES).min(V::ACROSS);
            let (to, across) = match straight {
                // SAFETY: there is room for the channels of all pixels.
                true => (unsafe { plan.target.values.add(column) }, plan.target.across),
                false => (sums.as_mut_ptr(), vectors * V::LANES),
            };
            for (index, (chunk, runs)) in weights.chunks.iter().zip(plan.runs).enumerate() {
                let mut length = 0;
                for part in chunk {
                    length += part.length;
                }
                let (these, rest) = packed.split_at(length * vectors * V::LANES);
                packed = rest;
                for list in &lists {
                    let runs = &runs[list.class][..];
                    if runs.is_empty() && index != list.first_chunk {
                        continue;
                    }
                    let finish = match plan.affine {
                        Some([scale, shift]) if straight && index == list.last_chunk => {
                            Some((scale[column..].as_ptr(), shift[column..].as_ptr(), relu))
                        }
                        _ => None,
                    };
                    let fresh = index == list.first_chunk;
                    let mut pixels = &list.pixels[..];
                    while !pixels.is_empty() {
                        // Few sums in a tile would wait for each other.
                        let most = if H == 6 { TALL } else { 6 };
                        let tall = vectors == 1 && pixels.len() >= most;
                        let rows = if tall { most } else { pixels.len().min(H) };
                        let (tile, others) = pixels.split_at(rows);
                        pixels = others;
                        let mut from = [source.as_ptr(); TALL];
                        let mut at = [to; TALL];
                        for row in 0..rows {
                            let (start, pixel) = tile[row];
                            // SAFETY: within the source, as `Axis` has it, and within the output.
                            unsafe {
                                from[row] = source.as_ptr().add(start);
                                at[row] = to.add(pixel * across);
                            }
                        }
                        // SAFETY: the instruction set is there; what a class's taps meet is within the source.
                        unsafe {
                            if tall && H < 6 {
                                tile_of::<V, 6, 1>(runs, these, &from, &at, fresh, finish);
                            } else if tall {
                                tile_of::<V, TALL, 1>(runs, these, &from, &at, fresh, finish);
                            } else {
                                sized!(rows, vectors, tile_of(runs, these, &from, &at, fresh, finish));
                            }
                        }
                    }
                }
            }
            if !straight {
                let channels = (outputs - column).min(block);
                // SAFETY: these pixels and channels are this unit's own.
                unsafe { self.finish::<V>(&sums, across, column, channels, [height, width]) };
            }
        }
    }
}

impl Unit<'_> {
    /// Takes sums `[pixels, across]` of the channels from `column` on to the output.
    ///
    /// # Safety
    /// Nothing else writes to these pixels.
    #[inline(always)]
    unsafe fn finish<V: Vector>(
        &self,
        sums: &[f32],
        across: usize,
        column: usize,
        channels: usize,
        [height, width]: [usize; 2],
    ) {
        let Plan { then, affine, target, .. } = *self.plan;
        let outputs = self.plan.correlation.outputs;
        let (relu, pool, places) = match then {
            Then::Finish(Finish { relu, pool, places, .. }) => (relu, pool, places),
            Then::Nothing | Then::Add(..) | Then::Sums(..) => {
                for image in 0..self.images.len() {
                    let first = ((self.images.start + image) * height + self.rows.start) * width;
                    for pixel in 0..self.rows.len() * width {
                        let sums = &sums[(image * self.rows.len() * width + pixel) * across..][..channels];
                        let pixel = first + pixel;
                        // SAFETY: there is room for all pixels, or for all units.
                        unsafe {
                            match then {
                                Then::Add(activation, factors) => {
                                    let out = target.values(pixel, column, channels);
                                    join(activation, factors, pixel, column, sums, out);
                                }
                                Then::Sums(activation, normal) => {
                                    let sum = target.values(self.index, column, channels);
                                    let product = target.values(self.index, outputs + column, channels);
                                    sum_up(activation, normal, pixel, column, sums, [sum, product]);
                                }
                                _ => target.values(pixel, column, channels).copy_from_slice(sums),
                            }
                        }
                    }
                }
                return;
            }
        };
        let [scale, shift] = affine.expect("there are both where there is a finish");
        let (scale, shift) = (&scale[column..][..channels], &shift[column..][..channels]);
        let side = if pool { 2 } else { 1 };
        for image in 0..self.images.len() {
            for row in 0..self.rows.len() / side {
                for x in 0..width / side {
                    let from = (image * self.rows.len() + row * side) * width + x * side;
                    let to = ((self.images.start + image) * (height / side) + self.rows.start / side + row)
                        * (width / side)
                        + x;
                    // SAFETY: there is room for all pixels.
                    let out = unsafe { target.values(to, column, channels) };
                    if pool && !places && channels == across {
                        let [upper, lower] = [from, from + width].map(|pixel| &sums[pixel * across..][..2 * across]);
                        // SAFETY: the instruction set is there, and whole vectors of all.
                        unsafe { finish_four::<V>(upper, lower, [scale, shift], relu, out) };
                        continue;
                    }
                    let first = &sums[from * across..][..channels];
                    if pool {
                        let second = &sums[(from + 1) * across..][..channels];
                        let third = &sums[(from + width) * across..][..channels];
                        let fourth = &sums[(from + width + 1) * across..][..channels];
                        if places {
                            // SAFETY: as above, where places are asked for.
                            let places = unsafe { target.places(to, column, channels) };
                            largest([first, second, third, fourth], out, places);
                        } else {
                            for channel in 0..channels {
                                let (mut value, other) = (first[channel], second[channel]);
                                value = if is_larger(other, value) { other } else { value };
                                let other = third[channel];
                                value = if is_larger(other, value) { other } else { value };
                                let other = fourth[channel];
                                out[channel] = if is_larger(other, value) { other } else { value };
                            }
                        }
                    } else {
                        out.copy_from_slice(first);
                    }
                    for channel in 0..channels {
                        let value = out[channel] * scale[channel] + shift[channel];
                        out[channel] = if relu && value < 0.0 { 0.0 } else { value };
                    }
                }
            }
        }
    }
}

/// [`Then::Add`] for the channels of a pixel from the `column` on.
#[inline(always)]
fn join(of: Activation, [a, b, c]: [&[f32]; 3], pixel: usize, column: usize, sums: &[f32], out: &mut [f32]) {
    let channels = sums.len();
    let input = of.input.channels(pixel, column, channels);
    let (scale, shift) = (&of.scale[column..][..channels], &of.shift[column..][..channels]);
    let (a, b, c) = (&a[column..][..channels], &b[column..][..channels], &c[column..][..channels]);
    let out = &mut out[..channels];
    for channel in 0..channels {
        let is_cut = input[channel] * scale[channel] + shift[channel] <= 0.0;
        let sum = if is_cut { 0.0 } else { sums[channel] };
        out[channel] += a[channel] * sum + b[channel] * input[channel] + c[channel];
    }
}

/// [`Then::Sums`] for the channels of a pixel from the `column` on.
#[inline(always)]
fn sum_up(
    of: Activation,
    [mean, inverse]: [&[f32]; 2],
    pixel: usize,
    column: usize,
    sums: &[f32],
    to: [&mut [f32]; 2],
) {
    let channels = sums.len();
    let input = of.input.channels(pixel, column, channels);
    let (scale, shift) = (&of.scale[column..][..channels], &of.shift[column..][..channels]);
    let (mean, inverse) = (&mean[column..][..channels], &inverse[column..][..channels]);
    let [total, product] = to;
    let (total, product) = (&mut total[..channels], &mut product[..channels]);
    for channel in 0..channels {
        let is_cut = input[channel] * scale[channel] + shift[channel] <= 0.0;
        let sum = if is_cut { 0.0 } else { sums[channel] };
        total[channel] += sum;
        product[channel] += sum * ((input[channel] - mean[channel]) * inverse[channel]);
    }
}

/// `max(0, scale sum + shift)` of the largest of four pixels, two of which are side by side in `upper` and in `lower`.
///
/// # Safety
/// The instruction set is there, and channels fill vectors.
#[inline(always)]
unsafe fn finish_four<V: Vector>(
    upper: &[f32],
    lower: &[f32],
    [scale, shift]: [&[f32]; 2],
    relu: bool,
    out: &mut [f32],
) {
    let channels = out.len();
    let mut first = 0;
    while first < channels {
        // SAFETY: the caller's.
        unsafe {
            let (above, below) = (upper.as_ptr().add(first), lower.as_ptr().add(first));
            let left = V::load(above).larger(V::load(below));
            let right = V::load(above.add(channels)).larger(V::load(below.add(channels)));
            // Rounded twice, as where channels do not fill vectors.
            let product = V::splat(0.0).add_product(left.larger(right), V::load(scale.as_ptr().add(first)));
            let value = product.add_product(V::splat(1.0), V::load(shift.as_ptr().add(first)));
            (if relu { value.relu() } else { value }).store(out.as_mut_ptr().add(first));
        }
        first += V::LANES;
    }
}

/// `H` x `W` vectors at `to`: what they hold unless `fresh`, and the products of the numbers at `from` and the weights, all
/// finished if that is asked for.
///
/// # Safety
/// The instruction set is there; `from` has the numbers of the runs, `to` has `W` vectors, and `weights` and the finish a vector
/// for each of them.
#[inline(always)]
unsafe fn tile_of<V: Vector, const H: usize, const W: usize>(
    runs: &[Run],
    weights: &[f32],
    from: &[*const f32],
    to: &[*mut f32],
    fresh: bool,
    finish: Option<(*const f32, *const f32, bool)>,
) {
    // SAFETY: the caller's.
    unsafe {
        // Not by a loop, which would keep them in memory where it is not unrolled.
        let mut sums: [[V; W]; H] = std::mem::zeroed();
        let mut at = [from[0]; H];
        unrolled!(row < H, {
            at[row] = from[row];
            if !fresh {
                unrolled!(column < W, {
                    sums[row][column] = V::load(to[row].add(column * V::LANES));
                });
            }
        });
        for run in runs {
            let mut weight = weights.as_ptr().add(run.weight * W * V::LANES);
            for index in run.offset..run.offset + run.length {
                let mut weights: [V; W] = std::mem::zeroed();
                unrolled!(column < W, {
                    weights[column] = V::load(weight.add(column * V::LANES));
                });
                weight = weight.add(W * V::LANES);
                unrolled!(row < H, {
                    let value = V::splat(*at[row].add(index));
                    unrolled!(column < W, {
                        sums[row][column] = sums[row][column].add_product(value, weights[column]);
                    });
                });
            }
        }
        if let Some((scale, shift, relu)) = finish {
            unrolled!(column < W, {
                let (scale, shift) = (V::load(scale.add(column * V::LANES)), V::load(shift.add(column * V::LANES)));
                unrolled!(row < H, {
                    let value = shift.add_product(sums[row][column], scale);
                    sums[row][column] = if relu { value.relu() } else { value };
                });
            });
        }
        unrolled!(row < H, {
            unrolled!(column < W, {
                sums[row][column].store(to[row].add(column * V::LANES));
            });
        });
    }
}

/// Memory that several threads write to, each to pixels of its own.
#[derive(Clone, Copy)]
struct Target {
    values: *mut f32,
    /// Null where they are not asked for.
    places: *mut u8,
    /// Numbers from one pixel to the next.
    across: usize,
}

// SAFETY: who writes has to see to it that nobody else does to the same pixels.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// # Safety
    /// The memory is there, and nobody else uses it.
    #[inline(always)]
    unsafe fn values<'a>(self, pixel: usize, column: usize, channels: usize) -> &'a mut [f32] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(pixel * self.across + column), channels) }
    }

    /// # Safety
    /// As [`values`](Self::values).
    #[inline(always)]
    unsafe fn places<'a>(self, pixel: usize, column: usize, channels: usize) -> &'a mut [u8] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.places.add(pixel * self.across + column), channels) }
    }
}
