//! Convolutions on a CPU: direct, with the sums of a tile of pixels and channels in registers.
//!
//! In and out are planar, `[n, channels, height, width]` in one slice. Within, an image lies in a padded buffer with all channels
//! of a pixel side by side, so that the products of a pixel, a tap of the filter and all input channels are one run of memory;
//! weights are packed so that the output channels of a tile are side by side. A tile is as many pixels high and as many vectors
//! of channels wide as registers hold. Small maps of several images are one list of pixels. Threads take groups of images, or
//! parts of them where there are few.
//!
//! The gradient of the input is a convolution with the filters turned round; that of the weights has input channels in the
//! place of pixels, and sums over these.
#![allow(clippy::needless_range_loop, reason = "iterators' closures would not be compiled for the instruction set")]

use std::ops::Range;

use super::{
    aligned::Aligned,
    threads::{fold, for_each, threads},
    vector::{Plain, Vector},
};

/// Bytes of packed weights that a run over all tiles reads, so that they stay in the first-level cache.
const CHUNK_BYTES: usize = 24 << 10;
/// Pixels of one group of images, at least, where there are as many.
const GROUP_PIXELS: usize = 192;
/// Planes that are written to side by side.
const BLOCK: usize = 16;
/// Height of the tallest tile.
const TALLEST: usize = 6;

/// A square convolution of square or oblong maps, without dilation or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Images.
    pub images: usize,
    /// Channels in.
    pub inputs: usize,
    /// Height and width in.
    pub size: [usize; 2],
    /// Channels out.
    pub outputs: usize,
    /// Height and width of a filter.
    pub kernel: usize,
    /// Pixels from one position of the filter to the next.
    pub stride: usize,
    /// Zeros on each side, less than the filter's size.
    pub padding: usize,
}

impl Shape {
    /// Height and width out; none where the filter does not fit or the padding is as large as it.
    pub fn out(&self) -> Option<[usize; 2]> {
        let of = |size: usize| (size + 2 * self.padding).checked_sub(self.kernel)?.checked_div(self.stride);
        let [height, width] = self.size;
        (self.padding < self.kernel).then_some([of(height)? + 1, of(width)? + 1])
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }
}

/// `[images, outputs, height, width]` of `input` `[images, inputs, ..]` and `weight` `[outputs, inputs, kernel, kernel]`.
pub(super) fn forward(machine: Machine, shape: Shape, input: &[f32], weight: &[f32]) -> Vec<f32> {
    let out = shape.out().expect("the caller has checked the shape");
    let (inputs, taps) = (shape.inputs, shape.taps());
    let correlation = Correlation {
        images: shape.images,
        source: Source { channels: inputs, size: shape.size, step: 1, start: shape.padding, padded: shape.padded() },
        outputs: shape.outputs,
        out,
        kernel: shape.kernel,
        stride: shape.stride,
    };
    let weights = Packed::new(machine, &correlation, |o, i, tap| weight[(o * inputs + i) * taps + tap]);
    correlation.run(machine, input, &weights)
}

/// The gradient of the input, `[images, inputs, height, width]`, from that of the output and the weights.
pub(super) fn input_gradient(machine: Machine, shape: Shape, output_gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let size = shape.out().expect("the caller has checked the shape");
    let (inputs, taps) = (shape.inputs, shape.taps());
    let correlation = Correlation {
        images: shape.images,
        source: Source {
            channels: shape.outputs,
            size,
            step: shape.stride,
            start: shape.kernel - 1 - shape.padding,
            padded: shape.size.map(|size| size + shape.kernel - 1),
        },
        outputs: inputs,
        out: shape.size,
        kernel: shape.kernel,
        stride: 1,
    };
    let weights = Packed::new(machine, &correlation, |o, i, tap| weight[(i * inputs + o) * taps + taps - 1 - tap]);
    correlation.run(machine, output_gradient, &weights)
}

/// The gradient of the weights, `[outputs, inputs, kernel, kernel]`, from the input and the gradient of the output.
pub(super) fn weight_gradient(machine: Machine, shape: Shape, input: &[f32], output_gradient: &[f32]) -> Vec<f32> {
    let out = shape.out().expect("the caller has checked the shape");
    let source =
        Source { channels: shape.inputs, size: shape.size, step: 1, start: shape.padding, padded: shape.padded() };
    let gradient = Source { channels: shape.outputs, size: out, step: 1, start: 0, padded: out };
    let sums = Sums {
        shape,
        source,
        gradient,
        rows: shape.inputs.next_multiple_of(machine.height()),
        width: machine.padded(shape.outputs),
    };
    let group = GROUP_PIXELS.div_ceil(gradient.pixels()).min(shape.images).max(1);
    let total = fold(shape.images.div_ceil(group), sums.len(), |index, total| {
        let images = index * group..((index + 1) * group).min(shape.images);
        machine.add_sums(&sums, images, input, output_gradient, total);
    });
    let mut weights = vec![0.0; shape.outputs * shape.inputs * shape.taps()];
    for (index, weight) in weights.iter_mut().enumerate() {
        let (tap, channels) = (index % shape.taps(), index / shape.taps());
        let (o, i) = (channels / shape.inputs, channels % shape.inputs);
        *weight = total[(tap * sums.rows + i) * sums.width + o];
    }
    weights
}

impl Shape {
    fn padded(&self) -> [usize; 2] {
        self.size.map(|size| size + 2 * self.padding)
    }
}

/// How planar maps come into a padded buffer.
#[derive(Clone, Copy)]
struct Source {
    channels: usize,
    size: [usize; 2],
    /// Pixels of the buffer from one of the map to the next.
    step: usize,
    /// Row and column of the first.
    start: usize,
    padded: [usize; 2],
}

impl Source {
    fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Numbers of a padded map.
    fn len(&self) -> usize {
        self.padded[0] * self.padded[1] * self.channels
    }

    /// The maps of `images` out of `values`, which holds all, one after the other with all channels of a pixel side by side
    /// (`width` numbers a pixel), and a tile's height of numbers more, which a tile may read in vain.
    fn gather(&self, values: &[f32], images: Range<usize>, width: usize) -> Aligned {
        let ([height, breadth], channels) = (self.size, self.channels);
        let map = self.padded[0] * self.padded[1] * width;
        let mut buffer = Aligned::zeros(images.len() * map + TALLEST);
        for (image, buffer) in images.zip(buffer.chunks_exact_mut(map.max(1))) {
            let planes = &values[image * channels * self.pixels()..][..channels * self.pixels()];
            for (y, block) in (0..height).flat_map(|y| (0..channels).step_by(BLOCK).map(move |block| (y, block))) {
                let row = ((self.start + y * self.step) * self.padded[1] + self.start) * width;
                let block = block..(block + BLOCK).min(channels);
                for x in 0..breadth {
                    let pixel = &mut buffer[row + x * self.step * width..][block.clone()];
                    let from = planes[block.start * self.pixels() + y * breadth + x..].iter().step_by(self.pixels());
                    pixel.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
        buffer
    }
}

/// A sum over taps and channels at each position, which is what a convolution is in this field.
struct Correlation {
    images: usize,
    source: Source,
    outputs: usize,
    out: [usize; 2],
    kernel: usize,
    stride: usize,
}

/// Consecutive input channels of some taps, whose weights fit into the first-level cache: where each tap's begin in the buffer
/// and how many they are.
type Chunk = Vec<(usize, usize)>;

impl Correlation {
    fn pixels(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// `[images, outputs, height, width]`.
    fn run(&self, machine: Machine, values: &[f32], weights: &Packed) -> Vec<f32> {
        let mut out = vec![0.0; self.images * self.outputs * self.pixels()];
        let group = GROUP_PIXELS.div_ceil(self.pixels().max(1)).min(self.images).max(1);
        let groups = self.images.div_ceil(group);
        let parts = threads().div_ceil(groups.max(1)).min(self.pixels().max(1));
        let shared = Shared(out.as_mut_ptr());
        for_each(groups * parts, |index| {
            let images = index / parts * group..((index / parts + 1) * group).min(self.images);
            let pixels = images.len() * self.pixels();
            let part = index % parts;
            let pixels = pixels * part / parts..pixels * (part + 1) / parts;
            let buffer = self.source.gather(values, images.clone(), self.source.channels);
            let positions = self.positions(pixels.clone());
            let tiles = machine.correlate(weights, &buffer, &positions);
            // SAFETY: groups and parts have pixels of their own, and `out` has all.
            unsafe { self.scatter(&tiles, weights.width, images.start, pixels, shared) };
        });
        out
    }

    /// Where in the buffer of a group of images the filter begins at each of the pixels.
    fn positions(&self, pixels: Range<usize>) -> Vec<usize> {
        let [height, width] = self.out;
        let of = |pixel: usize| {
            let (image, y, x) = (pixel / (height * width), pixel / width % height, pixel % width);
            image * self.source.len() + (y * self.source.padded[1] + x) * self.stride * self.source.channels
        };
        pixels.map(of).collect()
    }

    /// Where in the buffer the channels of each tap begin, from the position of the filter.
    fn taps(&self) -> impl Iterator<Item = usize> {
        let (row, channels) = (self.source.padded[1] * self.source.channels, self.source.channels);
        let kernel = self.kernel;
        (0..kernel * kernel).map(move |tap| tap / kernel * row + tap % kernel * channels)
    }

    /// Writes the tiles' `[pixels, width]` to their places in the planes at `out`.
    ///
    /// # Safety
    /// `out` holds the planes of all images, and nothing else reads or writes these pixels.
    unsafe fn scatter(&self, tiles: &[f32], width: usize, first: usize, pixels: Range<usize>, out: Shared) {
        let plane = self.pixels();
        let images = pixels.start / plane..pixels.end.div_ceil(plane);
        for (image, block) in images.flat_map(|image| (0..self.outputs).step_by(BLOCK).map(move |block| (image, block)))
        {
            let inside = pixels.start.max(image * plane)..pixels.end.min((image + 1) * plane);
            // SAFETY: the caller's.
            let planes = unsafe { out.0.add(((first + image) * self.outputs + block) * plane) };
            let channels = BLOCK.min(self.outputs - block);
            for pixel in inside {
                let sums = &tiles[(pixel - pixels.start) * width + block..][..channels];
                for (channel, sum) in sums.iter().enumerate() {
                    // SAFETY: the caller's.
                    unsafe { *planes.add(channel * plane + pixel - image * plane) = *sum };
                }
            }
        }
    }
}

/// Weights in the order in which tiles read them: for each block of output channels, each chunk, tap and input channel, the
/// block's output channels.
pub(super) struct Packed {
    values: Aligned,
    chunks: Vec<Chunk>,
    /// Output channels with those that fill the last vector.
    width: usize,
}

impl Packed {
    fn new(machine: Machine, correlation: &Correlation, weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        let (inputs, outputs) = (correlation.source.channels, correlation.outputs);
        let longest = (CHUNK_BYTES / 4 / machine.block()).max(1);
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut order = Vec::new();
        let mut room = 0;
        for (tap, offset) in correlation.taps().enumerate() {
            let parts = inputs.div_ceil(longest).max(1);
            for part in 0..parts {
                let channels = inputs * part / parts..inputs * (part + 1) / parts;
                if channels.len() > room {
                    chunks.push(Vec::new());
                    room = longest;
                }
                room -= channels.len();
                chunks.last_mut().expect("there is one by now").push((offset + channels.start, channels.len()));
                order.extend(channels.map(|channel| (channel, tap)));
            }
        }
        let width = machine.padded(outputs);
        let mut values = Aligned::zeros(order.len() * width);
        let mut places = values.iter_mut();
        for block in (0..width).step_by(machine.block()) {
            let block = block..(block + machine.block()).min(width);
            for &(i, tap) in &order {
                for (o, place) in block.clone().zip(&mut places) {
                    *place = if o < outputs { weight(o, i, tap) } else { 0.0 };
                }
            }
        }
        Packed { values, chunks, width }
    }
}

/// What the gradient of the weights is summed up from: `[taps, rows, width]` in all.
struct Sums {
    shape: Shape,
    source: Source,
    gradient: Source,
    rows: usize,
    width: usize,
}

impl Sums {
    fn len(&self) -> usize {
        self.shape.taps() * self.rows * self.width
    }
}

/// The instruction set that the kernels run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// Whatever the compiler makes of it.
    Plain,
    /// 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 lanes, with products and sums in one.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 4 lanes, on every 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 4 lanes, in every browser that the page runs in.
    #[cfg(all(target_family = "wasm", not(feature = "relaxed-simd")))]
    Simd128,
    /// 4 lanes, with products and sums in one: a module of its own, since one with unknown instructions is refused as a whole.
    #[cfg(all(target_family = "wasm", feature = "relaxed-simd"))]
    RelaxedSimd,
}

/// The same code for each instruction set, with its vectors, its tiles' height and its features.
macro_rules! machines {
    ($($(#[$cfg:meta])* $machine:ident: $vector:ty, $height:literal, [$($feature:tt)?];)*) => {
        impl Machine {
            /// All that this computer has, best first.
            pub fn all() -> impl Iterator<Item = Machine> {
                let known = [$($(#[$cfg])* (Machine::$machine, $(is_there!($feature) &&)? true)),*];
                known.into_iter().filter(|(_, there)| *there).map(|(machine, _)| machine)
            }

            /// Pixels or input channels of a tile.
            fn height(self) -> usize {
                match self { $($(#[$cfg])* Machine::$machine => $height),* }
            }

            fn lanes(self) -> usize {
                match self { $($(#[$cfg])* Machine::$machine => <$vector>::LANES),* }
            }

            /// Output channels of a tile.
            fn block(self) -> usize {
                match self { $($(#[$cfg])* Machine::$machine => <$vector>::LANES * <$vector>::ACROSS),* }
            }

            /// `[positions, width]`: the sums of each position.
            fn correlate(self, weights: &Packed, buffer: &[f32], positions: &[usize]) -> Aligned {
                match self {
                    $($(#[$cfg])* Machine::$machine => {
                        $(#[target_feature(enable = $feature)])?
                        unsafe fn on(weights: &Packed, buffer: &[f32], positions: &[usize]) -> Aligned {
                            // SAFETY: the caller's.
                            unsafe { correlate::<$vector, $height>(weights, buffer, positions) }
                        }
                        // SAFETY: `all` says that the instruction set is there.
                        unsafe { on(weights, buffer, positions) }
                    })*
                }
            }

            /// Adds the sums of some images to `total`.
            fn add_sums(self, sums: &Sums, images: Range<usize>, input: &[f32], gradient: &[f32], total: &mut [f32]) {
                match self {
                    $($(#[$cfg])* Machine::$machine => {
                        $(#[target_feature(enable = $feature)])?
                        unsafe fn on(
                            sums: &Sums, images: Range<usize>, input: &[f32], gradient: &[f32], total: &mut [f32],
                        ) {
                            // SAFETY: the caller's.
                            unsafe { add_sums::<$vector, $height>(sums, images, input, gradient, total) }
                        }
                        // SAFETY: `all` says that the instruction set is there.
                        unsafe { on(sums, images, input, gradient, total) }
                    })*
                }
            }
        }
    };
}

#[cfg(any(target_arch = "x86_64", all(target_family = "wasm", feature = "relaxed-simd")))]
macro_rules! is_there {
    // The browser has refused the module otherwise.
    ("relaxed-simd") => {
        true
    };
    ("avx512f") => {
        is_x86_feature_detected!("avx512f")
    };
    ("avx2,fma") => {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    };
}

machines! {
    #[cfg(target_arch = "x86_64")] Avx512: std::arch::x86_64::__m512, 6, ["avx512f"];
    #[cfg(target_arch = "x86_64")] Avx2: std::arch::x86_64::__m256, 6, ["avx2,fma"];
    #[cfg(target_arch = "aarch64")] Neon: std::arch::aarch64::float32x4_t, 6, [];
    #[cfg(all(target_family = "wasm", not(feature = "relaxed-simd")))] Simd128: std::arch::wasm32::v128, 4, [];
    #[cfg(all(target_family = "wasm", feature = "relaxed-simd"))]
    RelaxedSimd: std::arch::wasm32::v128, 4, ["relaxed-simd"];
    Plain: Plain, 4, [];
}

impl Machine {
    /// The best that this computer has.
    pub fn best() -> Self {
        static BEST: std::sync::OnceLock<Machine> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Machine::all().next().expect("the plain one is always there"))
    }

    /// Channels, with those that fill the last vector.
    fn padded(self, channels: usize) -> usize {
        channels.next_multiple_of(self.lanes())
    }
}

/// See [`Machine::correlate`].
///
/// # Safety
/// The instruction set of `V` is there.
#[inline(always)]
unsafe fn correlate<V: Vector, const H: usize>(weights: &Packed, buffer: &[f32], positions: &[usize]) -> Aligned {
    let width = weights.width;
    let mut sums = Aligned::zeros(positions.len() * width);
    // Where a last tile has too few pixels, the others read what is there and write to nowhere.
    let mut nowhere = Aligned::zeros(width);
    let mut packed = &weights.values[..];
    for column in (0..width).step_by(V::LANES * V::ACROSS) {
        let vectors = ((width - column) / V::LANES).min(V::ACROSS);
        for chunk in &weights.chunks {
            let length: usize = chunk.iter().map(|(_, length)| length).sum();
            let (these, rest) = packed.split_at(length * vectors * V::LANES);
            packed = rest;
            for (index, tile) in positions.chunks(H).enumerate() {
                let last = tile.len() - 1;
                // The bounds that the tile's pointers keep within.
                let reach = chunk.iter().map(|(offset, length)| offset + length).max().unwrap_or(0);
                assert!(tile.iter().all(|position| position + reach <= buffer.len()));
                let mut from = [buffer.as_ptr(); H];
                let mut to = [nowhere[column..][..vectors * V::LANES].as_mut_ptr(); H];
                for row in 0..H {
                    from[row] = buffer[tile[row.min(last)]..].as_ptr();
                    if row <= last {
                        to[row] = sums[(index * H + row) * width + column..][..vectors * V::LANES].as_mut_ptr();
                    }
                }
                // SAFETY: the instruction set is there; reads and writes are within the slices taken above.
                unsafe {
                    match vectors {
                        1 => tile_of::<V, H, 1>(chunk, these, from, to),
                        2 => tile_of::<V, H, 2>(chunk, these, from, to),
                        3 => tile_of::<V, H, 3>(chunk, these, from, to),
                        _ => tile_of::<V, H, 4>(chunk, these, from, to),
                    }
                }
            }
        }
    }
    sums
}

/// Adds to `H` x `W` vectors at `to` the products of the numbers at `from` and the weights.
///
/// # Safety
/// The instruction set is there; `from` has the numbers of the chunk's runs, `to` has `W` vectors, and `weights` a number for each
/// of both.
#[inline(always)]
unsafe fn tile_of<V: Vector, const H: usize, const W: usize>(
    chunk: &Chunk,
    weights: &[f32],
    from: [*const f32; H],
    to: [*mut f32; H],
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[V::splat(0.0); W]; H];
        for row in 0..H {
            for column in 0..W {
                sums[row][column] = V::load(to[row].add(column * V::LANES));
            }
        }
        let mut weight = weights.as_ptr();
        for &(offset, length) in chunk {
            for index in offset..offset + length {
                let mut weights = [V::splat(0.0); W];
                for column in 0..W {
                    weights[column] = V::load(weight.add(column * V::LANES));
                }
                weight = weight.add(W * V::LANES);
                for row in 0..H {
                    let value = V::splat(*from[row].add(index));
                    for column in 0..W {
                        sums[row][column] = sums[row][column].add_product(value, weights[column]);
                    }
                }
            }
        }
        for row in 0..H {
            for column in 0..W {
                sums[row][column].store(to[row].add(column * V::LANES));
            }
        }
    }
}

/// See [`Machine::add_sums`].
///
/// # Safety
/// The instruction set of `V` is there.
#[inline(always)]
unsafe fn add_sums<V: Vector, const H: usize>(
    sums: &Sums,
    images: Range<usize>,
    input: &[f32],
    gradient: &[f32],
    total: &mut [f32],
) {
    let (shape, width) = (sums.shape, sums.width);
    let count = images.len();
    let x = sums.source.gather(input, images.clone(), sums.source.channels);
    let y = sums.gradient.gather(gradient, images, width);
    let [height, breadth] = sums.gradient.size;
    let channels = sums.source.channels;
    let position = |pixel: usize| {
        let (image, y, x) = (pixel / (height * breadth), pixel / breadth % height, pixel % breadth);
        image * sums.source.len() + (y * sums.source.padded[1] + x) * shape.stride * channels
    };
    let positions: Vec<usize> = (0..count * height * breadth).map(position).collect();
    let reach = ((shape.kernel - 1) * sums.source.padded[1] + shape.kernel - 1) * channels + sums.rows;
    assert!(positions.iter().all(|position| position + reach <= x.len() + sums.rows - channels));
    assert!(positions.len() * width <= y.len());
    for tap in 0..shape.taps() {
        let offset = (tap / shape.kernel * sums.source.padded[1] + tap % shape.kernel) * channels;
        for column in (0..width).step_by(V::LANES * V::ACROSS) {
            let vectors = ((width - column) / V::LANES).min(V::ACROSS);
            for row in (0..sums.rows).step_by(H) {
                let to = &mut total[(tap * sums.rows + row) * width + column..][..(H - 1) * width + vectors * V::LANES];
                let (x, y, to) = (x[offset + row..].as_ptr(), y[column..].as_ptr(), to.as_mut_ptr());
                // SAFETY: the instruction set is there; the assertions above keep the reads within the buffers.
                unsafe {
                    match vectors {
                        1 => sum_of::<V, H, 1>(&positions, x, y, to, width),
                        2 => sum_of::<V, H, 2>(&positions, x, y, to, width),
                        3 => sum_of::<V, H, 3>(&positions, x, y, to, width),
                        _ => sum_of::<V, H, 4>(&positions, x, y, to, width),
                    }
                }
            }
        }
    }
}

/// Adds to `H` x `W` vectors at `to`, `width` numbers from one row to the next, the products of `H` numbers at `x` and `W` vectors
/// at `y` over all pixels.
///
/// # Safety
/// The instruction set is there; at `x` there are `H` numbers from each of `positions`, at `y` `W` vectors every `width` numbers.
#[inline(always)]
unsafe fn sum_of<V: Vector, const H: usize, const W: usize>(
    positions: &[usize],
    x: *const f32,
    y: *const f32,
    to: *mut f32,
    width: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[V::splat(0.0); W]; H];
        for row in 0..H {
            for column in 0..W {
                sums[row][column] = V::load(to.add(row * width + column * V::LANES));
            }
        }
        for (pixel, &position) in positions.iter().enumerate() {
            let y = y.add(pixel * width);
            let mut values = [V::splat(0.0); W];
            for column in 0..W {
                values[column] = V::load(y.add(column * V::LANES));
            }
            let x = x.add(position);
            for row in 0..H {
                let value = V::splat(*x.add(row));
                for column in 0..W {
                    sums[row][column] = sums[row][column].add_product(value, values[column]);
                }
            }
        }
        for row in 0..H {
            for column in 0..W {
                sums[row][column].store(to.add(row * width + column * V::LANES));
            }
        }
    }
}

/// Memory that several threads write to, each to numbers of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: who writes has to see to it that nobody else does to the same numbers.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[forward, input gradient, weight gradient]` by the definition, in double precision.
    fn naive(shape: Shape, x: &[f32], w: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
        let ([height, width], [oh, ow], k) = (shape.size, shape.out().unwrap(), shape.kernel);
        let mut out = [vec![0f64; g.len()], vec![0f64; x.len()], vec![0f64; w.len()]];
        for (n, o, y, xx) in (0..g.len()).map(|index| {
            (index / ow / oh / shape.outputs, index / ow / oh % shape.outputs, index / ow % oh, index % ow)
        }) {
            let at = ((n * shape.outputs + o) * oh + y) * ow + xx;
            for (i, ky, kx) in (0..shape.inputs * k * k).map(|index| (index / k / k, index / k % k, index % k)) {
                let (row, column) = (y * shape.stride + ky, xx * shape.stride + kx);
                let inside = |position: usize, size: usize| (shape.padding..shape.padding + size).contains(&position);
                if inside(row, height) && inside(column, width) {
                    let (row, column) = (row - shape.padding, column - shape.padding);
                    let from = ((n * shape.inputs + i) * height + row) * width + column;
                    let weight = ((o * shape.inputs + i) * k + ky) * k + kx;
                    out[0][at] += f64::from(x[from]) * f64::from(w[weight]);
                    out[1][from] += f64::from(g[at]) * f64::from(w[weight]);
                    out[2][weight] += f64::from(g[at]) * f64::from(x[from]);
                }
            }
        }
        out.map(|values| values.into_iter().map(|value| value as f32).collect())
    }

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| next()).collect()
    }

    /// Every instruction set that this computer has against the definition.
    fn check(shape: Shape) {
        let [oh, ow] = shape.out().unwrap();
        let x = numbers(shape.images * shape.inputs * shape.size[0] * shape.size[1], 1);
        let w = numbers(shape.outputs * shape.inputs * shape.taps(), 2);
        let g = numbers(shape.images * shape.outputs * oh * ow, 3);
        let expected = naive(shape, &x, &w, &g);
        for machine in Machine::all() {
            let found = [
                forward(machine, shape, &x, &w),
                input_gradient(machine, shape, &g, &w),
                weight_gradient(machine, shape, &x, &g),
            ];
            for ((found, expected), terms) in found.iter().zip(&expected).zip([
                shape.inputs * shape.taps(),
                shape.outputs * shape.taps(),
                shape.images * oh * ow,
            ]) {
                assert_eq!(found.len(), expected.len());
                // Rounding errors of a sum in single precision, whose terms are below a quarter.
                let tolerance = 1e-7 * (terms as f32).max(4.0);
                for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                    assert!((found - expected).abs() < tolerance, "{machine:?} {shape:?} {index}: {found} {expected}");
                }
            }
        }
    }

    fn shape(images: usize, inputs: usize, size: [usize; 2], outputs: usize, kernel: usize) -> Shape {
        Shape { images, inputs, size, outputs, kernel, stride: 1, padding: (kernel - 1) / 2 }
    }

    #[test]
    fn odd_shapes_agree_with_the_definition() {
        check(shape(1, 1, [1, 1], 1, 1));
        check(shape(1, 1, [1, 1], 1, 3));
        check(shape(2, 3, [32, 32], 24, 2));
        check(shape(257, 5, [3, 3], 7, 3));
        check(shape(1, 24, [15, 15], 64, 3));
        check(shape(5, 64, [7, 7], 65, 3));
        check(shape(3, 176, [3, 3], 176, 3));
        check(shape(2, 13, [8, 8], 12, 1));
        check(shape(1, 4, [2, 9], 33, 3));
        check(Shape { stride: 2, ..shape(3, 6, [8, 8], 17, 3) });
        check(Shape { stride: 2, ..shape(2, 6, [7, 9], 5, 3) });
        check(Shape { stride: 2, padding: 0, ..shape(2, 16, [8, 8], 48, 1) });
        check(Shape { padding: 0, ..shape(2, 9, [6, 5], 10, 3) });
        check(Shape { padding: 2, ..shape(1, 2, [4, 4], 3, 3) });
        check(Shape { stride: 3, padding: 1, ..shape(2, 3, [10, 11], 6, 4) });
    }

    #[test]
    fn filters_that_do_not_fit_have_no_output() {
        assert_eq!(Shape { padding: 0, ..shape(1, 1, [2, 2], 1, 3) }.out(), None);
        assert_eq!(Shape { padding: 3, ..shape(1, 1, [8, 8], 1, 3) }.out(), None);
        assert_eq!(Shape { stride: 0, ..shape(1, 1, [8, 8], 1, 3) }.out(), None);
    }

    #[test]
    fn the_same_threads_give_the_same_digits() {
        let shape = shape(40, 8, [5, 5], 9, 3);
        let (x, g) = (numbers(40 * 8 * 25, 1), numbers(40 * 9 * 25, 2));
        let one = weight_gradient(Machine::best(), shape, &x, &g);
        assert_eq!(one, weight_gradient(Machine::best(), shape, &x, &g));
    }
}
