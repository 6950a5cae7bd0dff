//! Tensors as the kernels take them.

use burn::{
    backend::TensorMetadata,
    tensor::{DType, Shape},
};
use burn_cubecl::{
    cubecl::{self, prelude::*},
    kernel::into_contiguous,
    ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};

/// Four numbers.
pub type Four = Vector<f32, Const<4>>;

/// Workgroups in one direction, at most.
const MOST: usize = 32_768;
/// Invocations of a workgroup where each does its own.
const INVOCATIONS: u32 = 256;

/// Room for numbers on the device of `like`.
pub fn numbers(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), DType::F32)
}

/// Room for places of the largest.
pub fn places(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), DType::I32)
}

/// How many channels are read at once.
pub fn vector(channels: usize) -> usize {
    if channels.is_multiple_of(4) { 4 } else { 1 }
}

/// The tensor's numbers in the order of its dimensions, as vectors.
pub fn arg(tensor: CubeTensor, vector: usize) -> BufferArg {
    let tensor = into_contiguous(tensor);
    let length = tensor.shape().num_elements() / vector;
    // SAFETY: the tensor has that many.
    unsafe { BufferArg::from_raw_parts(tensor.handle, length) }
}

/// As many workgroups as that in two directions, or a few more.
pub fn blocks(count: usize) -> [u32; 2] {
    let rows = count.div_ceil(MOST).max(1);
    [count.div_ceil(rows) as u32, rows as u32]
}

/// Workgroups and their size for so many invocations; a kernel asks [`position`] for its own.
pub fn each(count: usize) -> (CubeCount, CubeDim) {
    let [x, y] = blocks(count.div_ceil(INVOCATIONS as usize));
    (CubeCount::Static(x, y, 1), CubeDim::new_1d(INVOCATIONS))
}

/// The number of an invocation, of [`each`].
#[cube]
pub fn position() -> u32 {
    (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) * INVOCATIONS + UNIT_POS
}

/// Four numbers from `channel` on in a row of a matrix; 0 beyond its last column.
#[cube]
pub fn read<N: Size>(values: &[Vector<f32, N>], row: u32, channel: u32, channels: u32, #[comptime] wide: bool) -> Four {
    let mut value: Four = Vector::new(0.0f32);
    if comptime!(wide) {
        if channel < channels {
            value = Vector::cast_from(values[((row * channels + channel) / 4) as usize]);
        }
    } else {
        #[unroll]
        for part in 0..4usize {
            let channel = channel + comptime!(part as u32);
            if channel < channels {
                value.insert(part, values[(row * channels + channel) as usize].extract(0usize));
            }
        }
    }
    value
}

/// Writes what [`read`] reads.
#[cube]
pub fn write<T: Numeric, N: Size>(
    values: &mut [Vector<T, N>],
    value: Vector<T, Const<4>>,
    row: u32,
    channel: u32,
    channels: u32,
    #[comptime] wide: bool,
) {
    if comptime!(wide) {
        if channel < channels {
            values[((row * channels + channel) / 4) as usize] = Vector::cast_from(value);
        }
    } else {
        #[unroll]
        for part in 0..4usize {
            let channel = channel + comptime!(part as u32);
            if channel < channels {
                values[(row * channels + channel) as usize] = Vector::new(value.extract(part));
            }
        }
    }
}

/// The tensor's memory, and how far apart its numbers lie in each dimension; a view is not copied.
pub fn as_it_lies<const D: usize>(tensor: CubeTensor) -> (BufferArg, [u32; D]) {
    let strides = std::array::from_fn(|dimension| tensor.meta.strides()[dimension] as u32);
    let length = tensor.handle.size() as usize / size_of::<f32>();
    // SAFETY: the memory has that many.
    (unsafe { BufferArg::from_raw_parts(tensor.handle, length) }, strides)
}
