//! Max and mean pooling of 2 x 2 pixels, two apart.
//!
//! `output[n, y, x, c]` is the largest or the mean of `input[n, 2 y.., 2 x.., c]`, two by two; an odd last row or column is not
//! read. The input has a gradient: the largest's, the first of equal ones, or a quarter for each.

#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;
use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension, get_or_init_device_settings,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Shape, Tensor, TensorData},
};
#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use burn::{
    backend::{Cube, ops::FloatTensorOps},
    tensor::FloatDType,
};

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use super::{convolution::in_single, gpu};
use super::{
    convolution::{by_pixel, planar},
    cpu::{self, machine::Machine},
    values::{tensor, values},
};

/// `[n, height / 2, width / 2, channels]` of `input` `[n, height, width, channels]`.
pub fn max_pool(input: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as PoolOps>::max_pool(input.into_dispatch()).0)
}

/// The same, the mean in place of the largest.
pub fn mean_pool(input: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as PoolOps>::mean_pool(input.into_dispatch()))
}

#[backend_extension(
    Autodiff,
    Flex,
    Cube: cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm")),
    LibTorch: cfg(feature = "libtorch")
)]
pub trait PoolOps: Backend {
    /// See [`max_pool`]; with the places of the largest, in a form of the device's own.
    fn max_pool(input: FloatTensor<Self>) -> (FloatTensor<Self>, IntTensor<Self>) {
        composed::<Self>(input)
    }

    /// The gradient of the input, of the given shape, from that of the output.
    fn max_pool_gradient(gradient: FloatTensor<Self>, places: IntTensor<Self>, shape: Shape) -> FloatTensor<Self> {
        composed_gradient::<Self>(gradient, places, shape)
    }

    /// See [`mean_pool`].
    fn mean_pool(input: FloatTensor<Self>) -> FloatTensor<Self> {
        composed_mean::<Self>(input)
    }

    /// The gradient of the input, of the given shape, from that of the output.
    fn mean_pool_gradient(gradient: FloatTensor<Self>, shape: Shape) -> FloatTensor<Self> {
        composed_mean_gradient::<Self>(gradient, shape)
    }
}

/// By Burn's operations.
fn composed<B: Backend>(input: FloatTensor<B>) -> (FloatTensor<B>, IntTensor<B>) {
    let indices = get_or_init_device_settings::<B>(&input.device()).int_dtype;
    let pooled = B::max_pool2d_with_indices(planar::<B>(input), [2; 2], [2; 2], [0; 2], [1; 2], false, indices);
    (by_pixel::<B>(pooled.output), pooled.indices)
}

/// The same for the gradient.
fn composed_gradient<B: Backend>(gradient: FloatTensor<B>, places: IntTensor<B>, shape: Shape) -> FloatTensor<B> {
    // Only its shape is read.
    let input = planar::<B>(B::float_empty(shape, &gradient.device(), gradient.dtype().into()));
    let gradient = planar::<B>(gradient);
    let input =
        B::max_pool2d_with_indices_backward(input, [2; 2], [2; 2], [0; 2], [1; 2], false, gradient, places).x_grad;
    by_pixel::<B>(input)
}

/// By Burn's operations.
fn composed_mean<B: Backend>(input: FloatTensor<B>) -> FloatTensor<B> {
    let input = planar::<B>(input);
    by_pixel::<B>(B::avg_pool2d(input, [2; 2], [2; 2], [0; 2], false, false))
}

/// The same for the gradient.
fn composed_mean_gradient<B: Backend>(gradient: FloatTensor<B>, shape: Shape) -> FloatTensor<B> {
    // Only its shape is read.
    let input = planar::<B>(B::float_empty(shape, &gradient.device(), gradient.dtype().into()));
    let gradient = planar::<B>(gradient);
    by_pixel::<B>(B::avg_pool2d_backward(input, gradient, [2; 2], [2; 2], [0; 2], false, false))
}

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
impl PoolOps for Cube {
    fn max_pool(input: FloatTensor<Self>) -> (FloatTensor<Self>, IntTensor<Self>) {
        let precision = input.dtype();
        if precision == DType::F32 {
            return gpu::pool::max_pool(input);
        }
        let (output, places) = gpu::pool::max_pool(Self::float_cast(input, FloatDType::F32));
        (Self::float_cast(output, precision.into()), places)
    }

    fn max_pool_gradient(gradient: FloatTensor<Self>, places: IntTensor<Self>, shape: Shape) -> FloatTensor<Self> {
        in_single::<Self, 1>([gradient], |[gradient]| {
            let behind = gpu::pool::Behind { finish: None, relu: false, places: Some(places) };
            gpu::pool::gradient(gradient, behind, shape)
        })
    }

    fn mean_pool(input: FloatTensor<Self>) -> FloatTensor<Self> {
        in_single::<Self, 1>([input], |[input]| gpu::pool::mean_pool(input))
    }

    fn mean_pool_gradient(gradient: FloatTensor<Self>, shape: Shape) -> FloatTensor<Self> {
        in_single::<Self, 1>([gradient], |[gradient]| gpu::pool::mean_gradient(gradient, shape))
    }
}

#[cfg(feature = "libtorch")]
#[allow(deprecated, reason = "as in network/torch")]
impl PoolOps for LibTorch {}

impl PoolOps for Flex {
    fn max_pool(input: FloatTensor<Self>) -> (FloatTensor<Self>, IntTensor<Self>) {
        if input.dtype() != DType::F32 {
            return composed::<Self>(input);
        }
        let [images, height, width, channels] = input.shape().dims();
        let (output, places) = cpu::pool::max_pool(Machine::best(), [images, height, width, channels], &values(input));
        let shape = [images, height / 2, width / 2, channels];
        let output = tensor(output, shape);
        (output, IntTensor::<Self>::from_data(TensorData::new(places, shape)))
    }

    fn max_pool_gradient(gradient: FloatTensor<Self>, places: IntTensor<Self>, shape: Shape) -> FloatTensor<Self> {
        if gradient.dtype() != DType::F32 {
            return composed_gradient::<Self>(gradient, places, shape);
        }
        let places = places.as_slice().expect("they are as they were made");
        let input = cpu::pool::gradient(Machine::best(), shape.dims(), &values(gradient), places);
        tensor(input, shape)
    }

    fn mean_pool(input: FloatTensor<Self>) -> FloatTensor<Self> {
        if input.dtype() != DType::F32 {
            return composed_mean::<Self>(input);
        }
        let [images, height, width, channels] = input.shape().dims();
        let output = cpu::pool::mean_pool(Machine::best(), [images, height, width, channels], &values(input));
        tensor(output, [images, height / 2, width / 2, channels])
    }

    fn mean_pool_gradient(gradient: FloatTensor<Self>, shape: Shape) -> FloatTensor<Self> {
        if gradient.dtype() != DType::F32 {
            return composed_mean_gradient::<Self>(gradient, shape);
        }
        let input = cpu::pool::mean_gradient(Machine::best(), shape.dims(), &values(gradient));
        tensor(input, shape)
    }
}

impl<B: PoolOps, C: CheckpointStrategy> PoolOps for Autodiff<B, C> {
    fn max_pool(input: FloatTensor<Self>) -> (FloatTensor<Self>, IntTensor<Self>) {
        let node = input.node();
        let shape = input.shape();
        let (output, places) = B::max_pool(input.into_primitive());
        let output = match MaxPool.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((places.clone(), shape), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        (output, places)
    }

    fn mean_pool(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let node = input.node();
        let shape = input.shape();
        let output = B::mean_pool(input.into_primitive());
        match MeanPool.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(shape, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

#[derive(Debug)]
struct MaxPool;

impl<B: PoolOps> Backward<B, 1> for MaxPool {
    type State = (IntTensor<B>, Shape);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([node], (places, shape)) = (ops.parents, ops.state);
        if let Some(node) = node {
            gradients.register::<B>(node.id, B::max_pool_gradient(gradient, places, shape));
        }
    }
}

#[derive(Debug)]
struct MeanPool;

impl<B: PoolOps> Backward<B, 1> for MeanPool {
    type State = Shape;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([node], shape) = (ops.parents, ops.state);
        if let Some(node) = node {
            gradients.register::<B>(node.id, B::mean_pool_gradient(gradient, shape));
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{
        Device, Distribution,
        module::{avg_pool2d, max_pool2d},
        ops::{AvgPoolOptions, MaxPoolOptions},
    };

    use super::*;

    /// Ours against Burn's own, at odd sizes and with equal numbers.
    #[test]
    fn output_and_gradient_are_those_of_burn() {
        fn burns_max(x: Tensor<4>) -> Tensor<4> {
            max_pool2d(x, MaxPoolOptions::new([2, 2]).with_stride([2, 2]))
        }
        fn burns_mean(x: Tensor<4>) -> Tensor<4> {
            avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]))
        }
        type Pool = fn(Tensor<4>) -> Tensor<4>;
        let device = Device::flex().autodiff();
        for shape in [[2, 7, 9, 5], [3, 4, 2, 40], [1, 2, 3, 1]] {
            let x = Tensor::<4>::random(shape, Distribution::Uniform(-2.0, 2.0), &device).round().require_grad();
            for (ours, burns) in [(max_pool as Pool, burns_max as Pool), (mean_pool, burns_mean)] {
                let gradients_of = |y: Tensor<4>| {
                    let gradients = (y.clone() + 1.0).powf_scalar(2.0).sum().backward();
                    [y.into_data(), x.grad(&gradients).unwrap().into_data()]
                };
                let ours = gradients_of(ours(x.clone()));
                let burns = gradients_of(burns(x.clone().permute([0, 3, 1, 2])).permute([0, 2, 3, 1]));
                for (ours, burns) in ours.iter().zip(&burns) {
                    ours.assert_eq(burns, true);
                }
            }
        }
    }
}
