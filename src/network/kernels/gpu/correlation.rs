//! The convolution with what follows it, and the gradient of its input.
//!
//! A product of two matrices, of which the first is never stored: a row for each pixel of the result, with what a filter meets there,
//! times a column for each channel of it. A workgroup takes [`DEPTH`] terms of the sums of its tile at a time into its own memory; each
//! invocation keeps the sums of some pixels in a row and of four or eight channels in registers.

use burn::backend::TensorMetadata;
use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};

use super::{
    packed::Packed,
    tensors::{Four, arg, as_it_lies, blocks, numbers, places, read, vector, write},
};
use crate::network::kernels::cpu::shape::Shape;

/// Terms of a sum that are taken into the workgroup's memory at a time.
const DEPTH: u32 = 8;
/// The same in vectors of four.
const VECTORS: u32 = DEPTH / 4;
/// Invocations down a tile.
const DOWN: u32 = 16;

/// Which part of the result a workgroup computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tile {
    /// Invocations across.
    across: u32,
    /// Pixels of an invocation.
    rows: u32,
    /// Channels of an invocation, by fours.
    fours: u32,
}

impl Tile {
    /// As many channels as are there, up to 64; fewer pixels where more would leave the device idle.
    fn new(pixels: usize, channels: usize) -> Self {
        match channels {
            0..=16 => Tile { across: 4, rows: 8, fours: 1 },
            17..=32 => Tile { across: 4, rows: 8, fours: 2 },
            // Some hundred workgroups.
            _ if pixels * channels.div_ceil(64) < 128 * 256 => Tile { across: 16, rows: 4, fours: 1 },
            _ => Tile { across: 8, rows: 8, fours: 2 },
        }
    }

    fn pixels(self) -> u32 {
        DOWN * self.rows
    }

    fn channels(self) -> u32 {
        4 * self.across * self.fours
    }
}

/// What follows a convolution of a network that is made ready for scoring.
pub struct Finish {
    /// `[outputs]`.
    pub scale: CubeTensor,
    /// `[outputs]`.
    pub shift: CubeTensor,
    /// Whether a ReLU comes last.
    pub relu: bool,
    /// Whether the largest of each 2 x 2 pixels is taken first.
    pub pool: bool,
    /// Whether the places of the largest are told, `2 row + column`.
    pub places: bool,
}

/// `[images, height, width, outputs]` of `input` `[images, height, width, inputs]`, and places if they are asked for.
pub fn forward(
    shape: &Shape,
    input: CubeTensor,
    weight: &Packed,
    finish: Option<Finish>,
) -> (CubeTensor, Option<CubeTensor>) {
    let [height, width] = shape.out().expect("the caller has checked the shape");
    let way = Way {
        images: shape.images,
        source: shape.size,
        inputs: shape.inputs,
        out: [height, width],
        outputs: shape.outputs,
        kernel: shape.kernel,
        stride: shape.stride,
        padding: shape.padding as u32,
        apart: 1,
    };
    way.run(input, weight, finish)
}

/// The gradient of the input, `[images, height, width, inputs]`, from that of the output: the convolution with the filters turned
/// round, of what has zeros between its pixels if there is a stride.
pub fn backward(shape: &Shape, gradient: CubeTensor, weight: &Packed) -> CubeTensor {
    let way = Way {
        images: shape.images,
        source: shape.out().expect("the caller has checked the shape"),
        inputs: shape.outputs,
        out: shape.size,
        outputs: shape.inputs,
        kernel: shape.kernel,
        stride: 1,
        padding: (shape.kernel - 1 - shape.padding) as u32,
        apart: shape.stride,
    };
    way.run(gradient, weight, None).0
}

/// A convolution in either direction.
struct Way {
    images: usize,
    source: [usize; 2],
    inputs: usize,
    out: [usize; 2],
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: u32,
    /// From one pixel of the source to the next, with zeros between them.
    apart: usize,
}

impl Way {
    fn run(&self, input: CubeTensor, weight: &Packed, finish: Option<Finish>) -> (CubeTensor, Option<CubeTensor>) {
        let Way { images, source, inputs, out: [height, width], outputs, .. } = *self;
        let (pool, tells) =
            finish.as_ref().map_or((false, false), |finish| (finish.pool, finish.pool && finish.places));
        let [pooled_height, pooled_width] = if pool { [height / 2, width / 2] } else { [height, width] };
        let shape = [images, pooled_height, pooled_width, outputs];
        let output = numbers(&input, shape);
        let told = tells.then(|| places(&input, shape));
        let pixels = if pool { images * pooled_height * pooled_width * 4 } else { images * height * width };
        if pixels * outputs == 0 {
            return (output, told);
        }
        let tile = Tile::new(pixels, outputs);
        let (rows, columns) = (pixels.div_ceil(tile.pixels() as usize), outputs.div_ceil(tile.channels() as usize));
        let [x, z] = blocks(rows);
        let (vector_in, vector_out) = (vector(inputs), vector(outputs));
        let client = input.client.clone();
        let (input, [by_image, by_pixel, by_channel]) = by_pixels(input, vector_in);
        let floor = if finish.as_ref().is_some_and(|finish| finish.relu) { 0.0 } else { f32::NEG_INFINITY };
        let of = |side: usize| side as u32;
        let extent = ExtentLaunch::new(
            of(pixels),
            of(source[0]),
            of(source[1]),
            of(inputs),
            of(if pool { pooled_height } else { height }),
            of(if pool { pooled_width } else { width }),
            of(outputs),
            of(self.kernel),
            of(self.stride),
            self.padding,
            of(self.apart),
            by_image,
            by_pixel,
            by_channel,
        );
        let (scale, shift) = finish.map(|finish| (finish.scale, finish.shift)).unzip();
        // SAFETY: each invocation looks whether its pixels and channels are there before it reads or writes.
        unsafe {
            correlate::launch_unchecked(
                &client,
                CubeCount::Static(x, of(columns), z),
                CubeDim::new_1d(tile.across * DOWN),
                vector_in,
                vector_out,
                input,
                arg(weight.0.clone(), vector_out),
                scale.map(|scale| arg(scale, vector_out)).into(),
                shift.map(|shift| arg(shift, vector_out)).into(),
                arg(output.clone(), vector_out),
                told.clone().map(|told| arg(told, vector_out)).into(),
                extent,
                floor,
                tile,
                [vector_in, vector_out].map(|size| size == 4),
                pool,
                self.apart > 1,
            );
        }
        (output, told)
    }
}

/// Sizes in numbers; the result's are those behind a pooling if there is one, but for `pixels`.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
struct Extent {
    pixels: u32,
    height: u32,
    width: u32,
    inputs: u32,
    out_height: u32,
    out_width: u32,
    outputs: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    apart: u32,
    by_image: u32,
    by_pixel: u32,
    by_channel: u32,
}

/// The source, and how far apart its images, pixels and channels lie. Images that are a view of `[images, channels, height, width]`
/// are read as they lie.
fn by_pixels(input: CubeTensor, vector: usize) -> (BufferArg, [u32; 3]) {
    let [_, height, width, channels] = input.shape().dims();
    let strides = input.meta.strides();
    if vector == 1 && strides[1] == width * strides[2] {
        let (input, [image, _, pixel, channel]) = as_it_lies(input);
        return (input, [image, pixel, channel]);
    }
    (arg(input, vector), [height * width * channels, channels, 1].map(|side| side as u32))
}

#[cube(launch_unchecked)]
fn correlate<I: Size, O: Size>(
    input: &[Vector<f32, I>],
    weight: &[Vector<f32, O>],
    scale: ComptimeOption<&[Vector<f32, O>]>,
    shift: ComptimeOption<&[Vector<f32, O>]>,
    output: &mut [Vector<f32, O>],
    places: ComptimeOption<&mut [Vector<i32, O>]>,
    extent: Extent,
    floor: f32,
    #[comptime] tile: Tile,
    #[comptime] wide: [bool; 2],
    #[comptime] pool: bool,
    #[comptime] apart: bool,
) {
    let rows = comptime!(tile.rows as usize);
    let across = comptime!(tile.across);
    let mut a = Shared::<[Four]>::new_slice(comptime!((DOWN * tile.rows * VECTORS) as usize));
    let fours = comptime!(tile.fours as usize);
    let mut b = Shared::<[Four]>::new_slice(comptime!((DEPTH * tile.across * tile.fours) as usize));

    let first_row = (CUBE_POS_Z * CUBE_COUNT_X + CUBE_POS_X) * comptime!(tile.pixels());
    let first_column = CUBE_POS_Y * comptime!(tile.channels());

    // What this invocation takes into the workgroup's memory: one vector of each of some pixels.
    let apace = comptime!(DOWN * tile.across / VECTORS);
    let passes = comptime!((DOWN * tile.rows).div_ceil(apace) as usize);
    let load_row = UNIT_POS / VECTORS;
    let load_vector = UNIT_POS % VECTORS;
    let loads = load_row < comptime!(DOWN * tile.rows);
    let mut starts = Sequence::<u32>::new();
    let mut ys = Sequence::<u32>::new();
    let mut xs = Sequence::<u32>::new();
    #[unroll]
    for pass in 0..passes {
        let row = first_row + load_row + comptime!(pass as u32 * apace);
        let mut pixel = row;
        let mut y = 0u32.runtime();
        let mut x = 0u32.runtime();
        if comptime!(pool) {
            pixel = row / 4;
            y = row % 4 / 2;
            x = row % 2;
        }
        let side = comptime!(if pool { 2u32 } else { 1u32 });
        x += pixel % extent.out_width * side;
        y += pixel / extent.out_width % extent.out_height * side;
        let image = pixel / extent.out_width / extent.out_height;
        starts.push(image * extent.by_image);
        // Beyond the last pixel nothing is met.
        ys.push(select(row < extent.pixels, y * extent.stride - extent.padding, 0x4000_0000u32));
        xs.push(x * extent.stride - extent.padding);
    }

    let mut sums = Array::<Four>::new(comptime!(rows * fours));
    #[unroll]
    for at in 0..comptime!(rows * fours) {
        sums[at] = Vector::new(0.0f32);
    }

    let column = UNIT_POS % across;
    let row = UNIT_POS / across;
    let depth = extent.kernel * extent.kernel * extent.inputs;
    let mut tap_y = 0u32.runtime();
    let mut tap_x = 0u32.runtime();
    let mut channel = load_vector * 4;
    let mut first = 0u32.runtime();
    while first < depth {
        if comptime!(wide[0]) {
            while channel >= extent.inputs {
                channel -= extent.inputs;
                tap_x += 1;
                if tap_x == extent.kernel {
                    tap_x = 0;
                    tap_y += 1;
                }
            }
        }
        // Where single channels are read, the four of a vector may belong to different taps.
        let mut rows_of = Sequence::<u32>::new();
        let mut columns_of = Sequence::<u32>::new();
        let mut channels_of = Sequence::<u32>::new();
        if comptime!(!wide[0]) {
            #[unroll]
            for part in 0..4usize {
                let term = first + load_vector * 4 + comptime!(part as u32);
                let tap = term / extent.inputs;
                rows_of.push(tap / extent.kernel);
                columns_of.push(tap % extent.kernel);
                channels_of.push(term % extent.inputs * extent.by_channel);
            }
        }
        #[unroll]
        for pass in 0..passes {
            let (start, y, x) = (*starts.index(pass), *ys.index(pass), *xs.index(pass));
            let mut value: Four = Vector::new(0.0f32);
            if comptime!(wide[0]) {
                let (pixel, is_met) = source(y + tap_y, x + tap_x, &extent, apart);
                if is_met && tap_y < extent.kernel {
                    let from = start + pixel * extent.by_pixel + channel;
                    value = Vector::cast_from(input[(from / 4) as usize]);
                }
            } else {
                #[unroll]
                for part in 0..4usize {
                    let (tap_y, tap_x) = (*rows_of.index(part), *columns_of.index(part));
                    let (pixel, is_met) = source(y + tap_y, x + tap_x, &extent, apart);
                    if is_met && tap_y < extent.kernel {
                        let from = start + pixel * extent.by_pixel + *channels_of.index(part);
                        value.insert(part, input[from as usize].extract(0usize));
                    }
                }
            }
            if loads {
                a[((load_row + comptime!(pass as u32 * apace)) * VECTORS + load_vector) as usize] = value;
            }
        }
        #[unroll]
        for four in 0..fours {
            let column = column + comptime!(four as u32 * tile.across);
            let mut value: Four = Vector::new(0.0f32);
            if row < DEPTH {
                if first + row < depth {
                    let channel = first_column + column * 4;
                    value = read::<O>(weight, first + row, channel, extent.outputs, comptime!(wide[1]));
                }
                b[(row * comptime!(tile.across * tile.fours) + column) as usize] = value;
            }
        }
        sync_cube();

        for vector in 0..VECTORS {
            let mut left = Sequence::<Four>::new();
            #[unroll]
            for at in 0..rows {
                left.push(a[((row * comptime!(tile.rows) + comptime!(at as u32)) * VECTORS + vector) as usize]);
            }
            #[unroll]
            for part in 0..4usize {
                let term = (vector * 4 + comptime!(part as u32)) * comptime!(tile.across * tile.fours);
                #[unroll]
                for four in 0..fours {
                    let right = b[(term + column + comptime!(four as u32 * tile.across)) as usize];
                    #[unroll]
                    for at in 0..rows {
                        sums[comptime!(four * rows + at)] += Vector::new(left.index(at).extract(part)) * right;
                    }
                }
            }
        }
        sync_cube();
        first += DEPTH;
        channel += DEPTH;
    }

    let first_row = first_row + row * comptime!(tile.rows);
    let mut channels = Sequence::<u32>::new();
    let mut factors = Sequence::<Four>::new();
    let mut summands = Sequence::<Four>::new();
    #[unroll]
    for four in 0..fours {
        channels.push(first_column + (column + comptime!(four as u32 * tile.across)) * 4);
    }
    #[comptime]
    match scale {
        ComptimeOption::Some(scale) =>
        {
            #[unroll]
            for four in 0..fours {
                let by = read::<O>(scale, 0u32.runtime(), *channels.index(four), extent.outputs, comptime!(wide[1]));
                factors.push(by);
            }
        }
        ComptimeOption::None =>
        {
            #[unroll]
            for _ in 0..fours {
                factors.push(Vector::new(1.0f32));
            }
        }
    }
    #[comptime]
    match shift {
        ComptimeOption::Some(shift) =>
        {
            #[unroll]
            for four in 0..fours {
                let by = read::<O>(shift, 0u32.runtime(), *channels.index(four), extent.outputs, comptime!(wide[1]));
                summands.push(by);
            }
        }
        ComptimeOption::None =>
        {
            #[unroll]
            for _ in 0..fours {
                summands.push(Vector::new(0.0f32));
            }
        }
    }
    let mut told = Sequence::<Vector<i32, Const<4>>>::new();
    #[unroll]
    for four in 0..fours {
        let (channel, by, plus) = (*channels.index(four), *factors.index(four), *summands.index(four));
        if comptime!(pool) {
            #[unroll]
            for window in 0..comptime!(rows / 4) {
                let mut largest = sums[comptime!(four * rows + 4 * window)];
                let mut found: Vector<i32, Const<4>> = Vector::new(0i32);
                #[unroll]
                for other in 1..4usize {
                    let value = sums[comptime!(four * rows + 4 * window + other)];
                    let is_larger = value.greater_than(&largest);
                    largest = select_many(is_larger, value, largest);
                    found = select_many(is_larger, Vector::new(comptime!(other as i32).runtime()), found);
                }
                told.push(found);
                let at = first_row / 4 + comptime!(window as u32);
                if at * 4 < extent.pixels {
                    let value = at_least(largest * by + plus, floor);
                    write::<f32, O>(output, value, at, channel, extent.outputs, comptime!(wide[1]));
                }
            }
        } else {
            #[unroll]
            for at in 0..rows {
                let row = first_row + comptime!(at as u32);
                if row < extent.pixels {
                    let value = at_least(sums[comptime!(four * rows + at)] * by + plus, floor);
                    write::<f32, O>(output, value, row, channel, extent.outputs, comptime!(wide[1]));
                }
            }
        }
    }
    #[comptime]
    match places {
        ComptimeOption::Some(places) =>
        {
            #[unroll]
            for four in 0..fours {
                #[unroll]
                for window in 0..comptime!(rows / 4) {
                    let at = first_row / 4 + comptime!(window as u32);
                    if at * 4 < extent.pixels {
                        let found = *told.index(comptime!(four * (rows / 4) + window));
                        write::<i32, O>(places, found, at, *channels.index(four), extent.outputs, comptime!(wide[1]));
                    }
                }
            }
        }
        ComptimeOption::None => {}
    }
}

/// The pixel of an image of the source at such a row and column, and whether there is one.
#[cube]
fn source(y: u32, x: u32, extent: &Extent, #[comptime] apart: bool) -> (u32, bool) {
    // What is left or above of the source has wrapped around and is large.
    if comptime!(apart) {
        let (row, column) = (y / extent.apart, x / extent.apart);
        let is_pixel = row * extent.apart == y && column * extent.apart == x;
        (row * extent.width + column, is_pixel && row < extent.height && column < extent.width)
    } else {
        (y * extent.width + x, y < extent.height && x < extent.width)
    }
}

/// `value`, or `floor` where it is less; what is not a number stays so.
#[cube]
fn at_least(value: Four, floor: f32) -> Four {
    let floor: Four = Vector::new(floor);
    select_many(value.less_than(&floor), floor, value)
}
