//! Max and mean pooling of 2 x 2 pixels, and the way back through them.

use burn::{backend::TensorMetadata, tensor::Shape};
use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};

use super::tensors::{arg, each, numbers, places, position, vector};

/// The largest of each four of `input` `[images, height, width, channels]`, and which it was, `2 row + column`.
pub fn max_pool(input: CubeTensor) -> (CubeTensor, CubeTensor) {
    let [images, height, width, channels] = input.shape().dims();
    let shape = [images, height / 2, width / 2, channels];
    let (output, told) = (numbers(&input, shape), places(&input, shape));
    let vector = vector(channels);
    let count = shape.iter().product::<usize>() / vector;
    let (client, (cubes, dim)) = (input.client.clone(), each(count));
    if count > 0 {
        // SAFETY: an invocation beyond the last vector does nothing.
        unsafe {
            largest::launch_unchecked(
                &client,
                cubes,
                dim,
                vector,
                arg(input, vector),
                arg(output.clone(), vector),
                arg(told.clone(), vector),
                count as u32,
                height as u32,
                width as u32,
                (channels / vector) as u32,
            );
        }
    }
    (output, told)
}

#[cube(launch_unchecked)]
fn largest<N: Size>(
    input: &[Vector<f32, N>],
    output: &mut [Vector<f32, N>],
    places: &mut [Vector<i32, N>],
    count: u32,
    height: u32,
    width: u32,
    channels: u32,
) {
    let at = position();
    if at < count {
        let (channel, pixel) = (at % channels, at / channels);
        let (x, row) = (pixel % (width / 2), pixel / (width / 2));
        let (y, image) = (row % (height / 2), row / (height / 2));
        let first = ((image * height + 2 * y) * width + 2 * x) * channels + channel;
        let mut value = input[first as usize];
        let mut place: Vector<i32, N> = Vector::new(0i32);
        #[unroll]
        for other in 1..4usize {
            let down = comptime!(other as u32 / 2) * width;
            let next = input[(first + (down + comptime!(other as u32 % 2)) * channels) as usize];
            let is_larger = next.greater_than(&value);
            value = select_many(is_larger, next, value);
            place = select_many(is_larger, Vector::new(comptime!(other as i32).runtime()), place);
        }
        output[at as usize] = value;
        places[at as usize] = place;
    }
}

/// The mean of each four of `input` `[images, height, width, channels]`.
pub fn mean_pool(input: CubeTensor) -> CubeTensor {
    let [images, height, width, channels] = input.shape().dims();
    means(input, [images, height / 2, width / 2, channels], [height, width], false)
}

/// The gradient of the input, of the given shape, from that of the output of [`mean_pool`].
pub fn mean_gradient(gradient: CubeTensor, shape: Shape) -> CubeTensor {
    let [images, height, width, channels] = shape.dims();
    means(gradient, [images, height, width, channels], [height, width], true)
}

/// Of maps of the size on either side of the pooling, with that of its input.
fn means(from: CubeTensor, shape: [usize; 4], [height, width]: [usize; 2], back: bool) -> CubeTensor {
    let output = numbers(&from, shape);
    let vector = vector(shape[3]);
    let count = shape.iter().product::<usize>() / vector;
    let (client, (cubes, dim)) = (from.client.clone(), each(count));
    if count > 0 {
        // SAFETY: an invocation beyond the last vector does nothing.
        unsafe {
            mean::launch_unchecked(
                &client,
                cubes,
                dim,
                vector,
                arg(from, vector),
                arg(output.clone(), vector),
                count as u32,
                height as u32,
                width as u32,
                (shape[3] / vector) as u32,
                back,
            );
        }
    }
    output
}

#[cube(launch_unchecked)]
fn mean<N: Size>(
    from: &[Vector<f32, N>],
    output: &mut [Vector<f32, N>],
    count: u32,
    height: u32,
    width: u32,
    channels: u32,
    #[comptime] back: bool,
) {
    let at = position();
    if at < count {
        let (channel, pixel) = (at % channels, at / channels);
        let quarter: Vector<f32, N> = Vector::new(0.25f32);
        let mut value: Vector<f32, N> = Vector::new(0.0f32);
        if comptime!(back) {
            let (x, row) = (pixel % width / 2, pixel / width);
            let (y, image) = (row % height / 2, row / height);
            if x < width / 2 && y < height / 2 {
                let first = ((image * (height / 2) + y) * (width / 2) + x) * channels + channel;
                value = from[first as usize];
            }
        } else {
            let (x, row) = (pixel % (width / 2), pixel / (width / 2));
            let (y, image) = (row % (height / 2), row / (height / 2));
            let first = ((image * height + 2 * y) * width + 2 * x) * channels + channel;
            #[unroll]
            for other in 0..4usize {
                let down = comptime!(other as u32 / 2) * width;
                value += from[(first + (down + comptime!(other as u32 % 2)) * channels) as usize];
            }
        }
        output[at as usize] = value * quarter;
    }
}

/// What stands between a convolution and the output of a layer, on the way back.
pub struct Behind {
    /// The layer's output and a scale `[channels]`, unless it was the pooling alone.
    pub finish: Option<(CubeTensor, CubeTensor)>,
    /// Whether a ReLU came last.
    pub relu: bool,
    /// Of the largest.
    pub places: Option<CubeTensor>,
}

/// The gradient of what went in, of the given shape `[images, height, width, channels]`, from that of the output.
pub fn gradient(gradient: CubeTensor, behind: Behind, shape: Shape) -> CubeTensor {
    let [_, height, width, channels] = shape.dims();
    let input = numbers(&gradient, shape.clone());
    let vector = vector(channels);
    let count = shape.num_elements() / vector;
    let (client, (cubes, dim)) = (gradient.client.clone(), each(count));
    let relu = behind.relu && behind.finish.is_some();
    let (output, scale) = behind.finish.unzip();
    if count > 0 {
        // SAFETY: an invocation beyond the last vector does nothing.
        unsafe {
            spread::launch_unchecked(
                &client,
                cubes,
                dim,
                vector,
                arg(gradient, vector),
                output.map(|output| arg(output, vector)).into(),
                scale.map(|scale| arg(scale, vector)).into(),
                behind.places.map(|places| arg(places, vector)).into(),
                arg(input.clone(), vector),
                count as u32,
                height as u32,
                width as u32,
                (channels / vector) as u32,
                relu,
            );
        }
    }
    input
}

#[cube(launch_unchecked)]
fn spread<N: Size>(
    gradient: &[Vector<f32, N>],
    output: ComptimeOption<&[Vector<f32, N>]>,
    scale: ComptimeOption<&[Vector<f32, N>]>,
    places: ComptimeOption<&[Vector<i32, N>]>,
    input: &mut [Vector<f32, N>],
    count: u32,
    height: u32,
    width: u32,
    channels: u32,
    #[comptime] relu: bool,
) {
    let at = position();
    if at < count {
        let (channel, pixel) = (at % channels, at / channels);
        let zero: Vector<f32, N> = Vector::new(0.0f32);
        let mut from = at;
        let mut is_met = true.runtime();
        let mut place = 0u32.runtime();
        if comptime!(places.is_some()) {
            let (x, row) = (pixel % width, pixel / width);
            let (y, image) = (row % height, row / height);
            // An odd last row or column was not read.
            is_met = x / 2 < width / 2 && y / 2 < height / 2;
            place = y % 2 * 2 + x % 2;
            from = ((image * (height / 2) + y / 2) * (width / 2) + x / 2) * channels + channel;
        }
        let mut value = zero;
        if is_met {
            value = gradient[from as usize];
            #[comptime]
            match places {
                ComptimeOption::Some(places) => {
                    let here: Vector<i32, N> = Vector::new(place as i32);
                    value = select_many(places[from as usize].equal(&here), value, zero);
                }
                ComptimeOption::None => {}
            }
            #[comptime]
            match output {
                ComptimeOption::Some(output) => {
                    if comptime!(relu) {
                        value = select_many(output[from as usize].less_equal(&zero), zero, value);
                    }
                }
                ComptimeOption::None => {}
            }
            #[comptime]
            match scale {
                ComptimeOption::Some(scale) => value *= scale[channel as usize],
                ComptimeOption::None => {}
            }
        }
        input[at as usize] = value;
    }
}
