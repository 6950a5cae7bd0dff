//! The small operations of a GPU that would each be many kernels: the end of a network, its losses and the updates of its parameters.
//!
//! On other devices they are composed of Burn's. What a scoring network needs is so here, by backend, so that Burn's kernels for it
//! on a GPU are no part of the program; of what only a training needs [`has_kernels`] tells which it is.

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use burn::backend::Cube;
#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;
use burn::{
    backend::{
        Autodiff, AutodiffBackend, Backend, Dispatch, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension, get_or_init_device_settings,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{IndexingUpdateOp, Tensor},
};

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use super::gpu::{head, losses, updates};

/// Why no operation for training of a device without kernels is called.
const NONE: &str = "only devices that have kernels are asked";

/// Whether the device of `tensor` has kernels for this file's operations of a training and for its numbers' precision.
pub fn has_kernels<const D: usize>(tensor: &Tensor<D>) -> bool {
    <Dispatch as HeadOps>::has_kernels(tensor.clone().into_dispatch())
}

/// The largest over the pixels of `input` `[n, height, width, channels]`, `[n, channels]`; the first of equal ones has the gradient.
pub fn maximum(input: Tensor<4>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as HeadOps>::maximum(input.into_dispatch()).0)
}

/// The gradient of ODIN's loss with respect to logits `[n, c]`: of the entropy, or of the cross-entropy to the largest logit.
pub fn descent(logits: Tensor<2>, temperature: f64, entropy: bool) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as HeadOps>::descent(logits.into_dispatch(), temperature, entropy))
}

/// `images` `[n, c, h, w]` moved by `by` `[c]` against the sign of `gradient`; the sign of 0 is +1.
pub fn step(images: Tensor<4>, gradient: Tensor<4>, by: Tensor<1>) -> Tensor<4> {
    let [images, gradient] = [images, gradient].map(|tensor| tensor.into_dispatch());
    Tensor::from_dispatch(<Dispatch as HeadOps>::step(images, gradient, by.into_dispatch()))
}

/// A step of gradient descent.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(feature = "wgpu", feature = "cuda", target_family = "wasm")), allow(dead_code, reason = "for GPUs"))]
pub struct Descent {
    /// The learning rate.
    pub rate: f32,
    /// What is left of the velocity: 0 at the first step.
    pub kept: f32,
    /// The same for the look ahead.
    pub momentum: f32,
    /// Share of the parameter that is added to its gradient.
    pub weight_decay: f32,
    /// Whether the step looks ahead.
    pub nesterov: bool,
}

/// A parameter and its velocity after such a step, without gradients.
pub fn descended<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    velocity: Tensor<D>,
    descent: Descent,
) -> [Tensor<D>; 2] {
    let [parameter, gradient, velocity] = [parameter, gradient, velocity].map(|tensor| tensor.into_dispatch());
    let (parameter, velocity) = <Dispatch as HeadOps>::descended(parameter, gradient, velocity, descent);
    [parameter, velocity].map(Tensor::from_dispatch)
}

/// Running mean and variance `[channels]` after a batch, whose own take the share `momentum`, its variance times `unbiased`.
pub fn mixed(running: [Tensor<1>; 2], batch: [Tensor<1>; 2], momentum: f64, unbiased: f64) -> [Tensor<1>; 2] {
    let [mean, variance] = running.map(|tensor| tensor.into_dispatch());
    let [batch_mean, batch_variance] = batch.map(|tensor| tensor.into_dispatch());
    let (mean, variance) = <Dispatch as HeadOps>::mixed(mean, variance, batch_mean, batch_variance, momentum, unbiased);
    [mean, variance].map(Tensor::from_dispatch)
}

/// The loss `[1]` of [`margin_entropy_loss`](crate::training::loss::margin_entropy_loss), with beta, margin and the temperature of
/// LogitNorm, 0 for none.
pub fn margin_entropy(logits: Tensor<2>, targets: Tensor<2>, left_out: usize, settings: [f64; 3]) -> Tensor<1> {
    let [logits, targets] = [logits, targets].map(|tensor| tensor.into_dispatch());
    Tensor::from_dispatch(<Dispatch as HeadOps>::margin_entropy(logits, targets, left_out, settings).0)
}

/// `output`, whose gradient is `gradient` whatever comes back to it.
pub fn with_gradient(output: Tensor<2>, gradient: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as HeadOps>::with_gradient(output.into_dispatch(), gradient.into_dispatch()))
}

#[backend_extension(
    Autodiff,
    Flex,
    Cube: cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm")),
    LibTorch: cfg(feature = "libtorch")
)]
pub trait HeadOps: Backend {
    /// See [`has_kernels`].
    fn has_kernels(tensor: FloatTensor<Self>) -> bool {
        let _ = tensor;
        false
    }

    /// See [`maximum`]; with the pixel of the largest.
    fn maximum(input: FloatTensor<Self>) -> (FloatTensor<Self>, IntTensor<Self>) {
        let [images, height, width, channels] = input.shape().dims();
        let dtype = get_or_init_device_settings::<Self>(&input.device()).int_dtype;
        let pixels = Self::float_reshape(input, [images, height * width, channels].into());
        let (largest, places) = Self::float_max_dim_with_indices(pixels, 1, dtype);
        (Self::float_reshape(largest, [images, channels].into()), places)
    }

    /// The gradient of the input, of the given shape, from that of the output.
    fn maximum_gradient(gradient: FloatTensor<Self>, places: IntTensor<Self>, shape: [usize; 4]) -> FloatTensor<Self> {
        let [images, height, width, channels] = shape;
        let (device, dtype) = (gradient.device(), gradient.dtype());
        let none = Self::float_zeros([images, height * width, channels].into(), &device, dtype.into());
        let gradient = Self::float_reshape(gradient, [images, 1, channels].into());
        Self::float_reshape(Self::float_scatter(1, none, places, gradient, IndexingUpdateOp::Add), shape.into())
    }

    /// See [`descent`].
    ///
    /// Written out instead of derived: at T = 1000 the softmax is nearly uniform, and differences of its logarithms would lose most
    /// of their digits in single precision. Where it is nearly 1 for a class, what the entropy takes from the others is small beside
    /// that class's logit, which therefore counts as 0.
    fn descent(logits: FloatTensor<Self>, temperature: f64, entropy: bool) -> FloatTensor<Self> {
        let ([rows, classes], device, dtype) = (logits.shape().dims(), logits.device(), logits.dtype());
        let largest = Self::float_max_dim(logits.clone(), 1);
        let centred = Self::float_div_scalar(Self::float_sub(logits.clone(), largest), temperature.into());
        let powers = Self::float_exp(centred.clone());
        let p = Self::float_div(powers.clone(), Self::float_sum_dim(powers, 1));
        if entropy {
            let mean = Self::float_sum_dim(Self::float_mul(p.clone(), centred.clone()), 1);
            return Self::float_mul(p, Self::float_sub(mean, centred));
        }
        let places = Self::float_argmax(logits, 1, get_or_init_device_settings::<Self>(&device).int_dtype);
        let none = Self::float_zeros([rows, classes].into(), &device, dtype.into());
        let one = Self::float_ones([rows, 1].into(), &device, dtype.into());
        let target = Self::float_scatter(1, none, places, one, IndexingUpdateOp::Add);
        // p - target, without the cancellation in 1 - p of a confident network.
        let others = Self::float_sub(p.clone(), Self::float_mul(p, target.clone()));
        Self::float_sub(others.clone(), Self::float_mul(target, Self::float_sum_dim(others, 1)))
    }

    /// See [`step`].
    fn step(images: FloatTensor<Self>, gradient: FloatTensor<Self>, by: FloatTensor<Self>) -> FloatTensor<Self> {
        let (settings, dtype) = (get_or_init_device_settings::<Self>(&images.device()), images.dtype());
        let is_up = Self::float_greater_equal_elem(gradient, 0.0.into(), settings.bool_dtype);
        let sign = Self::bool_into_float(is_up, dtype.into());
        let sign = Self::float_sub_scalar(Self::float_mul_scalar(sign, 2.0.into()), 1.0.into());
        let [channels] = by.shape().dims();
        let by = Self::float_cast(Self::float_reshape(by, [1, channels, 1, 1].into()), dtype.into());
        Self::float_sub(images, Self::float_mul(sign, by))
    }

    /// See [`descended`].
    fn descended(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        descent: Descent,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let _ = (parameter, gradient, velocity, descent);
        unreachable!("{NONE}")
    }

    /// See [`mixed`].
    fn mixed(
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        batch_mean: FloatTensor<Self>,
        batch_variance: FloatTensor<Self>,
        momentum: f64,
        unbiased: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let _ = (mean, variance, batch_mean, batch_variance, momentum, unbiased);
        unreachable!("{NONE}")
    }

    /// See [`margin_entropy`]; with the gradient of the logits.
    fn margin_entropy(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        left_out: usize,
        settings: [f64; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let _ = (logits, targets, left_out, settings);
        unreachable!("{NONE}")
    }

    /// See [`with_gradient`].
    fn with_gradient(output: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        let _ = gradient;
        output
    }
}

impl HeadOps for Flex {}

#[cfg(feature = "libtorch")]
#[allow(deprecated, reason = "as in network/torch")]
impl HeadOps for LibTorch {}

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
impl HeadOps for Cube {
    fn has_kernels(tensor: FloatTensor<Self>) -> bool {
        tensor.dtype() == burn::tensor::DType::F32
    }

    fn maximum(input: FloatTensor<Self>) -> (FloatTensor<Self>, IntTensor<Self>) {
        head::maximum(input)
    }

    fn maximum_gradient(gradient: FloatTensor<Self>, places: IntTensor<Self>, shape: [usize; 4]) -> FloatTensor<Self> {
        head::maximum_gradient(gradient, places, shape)
    }

    fn descent(logits: FloatTensor<Self>, temperature: f64, entropy: bool) -> FloatTensor<Self> {
        losses::descent(logits, temperature as f32, entropy)
    }

    fn step(images: FloatTensor<Self>, gradient: FloatTensor<Self>, by: FloatTensor<Self>) -> FloatTensor<Self> {
        losses::step(images, gradient, by)
    }

    fn descended(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        descent: Descent,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let Descent { rate, kept, momentum, weight_decay, nesterov } = descent;
        updates::descended(parameter, gradient, velocity, [rate, kept, momentum, weight_decay], nesterov)
    }

    fn mixed(
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        batch_mean: FloatTensor<Self>,
        batch_variance: FloatTensor<Self>,
        momentum: f64,
        unbiased: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        updates::mixed([mean, variance], [batch_mean, batch_variance], momentum as f32, unbiased as f32)
    }

    fn margin_entropy(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        left_out: usize,
        settings: [f64; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        losses::margin_entropy(logits, targets, left_out, settings.map(|setting| setting as f32))
    }
}

impl<B: HeadOps, C: CheckpointStrategy> HeadOps for Autodiff<B, C> {
    fn has_kernels(tensor: FloatTensor<Self>) -> bool {
        B::has_kernels(tensor.into_primitive())
    }

    fn maximum(input: FloatTensor<Self>) -> (FloatTensor<Self>, IntTensor<Self>) {
        let node = input.node();
        let shape: [usize; 4] = input.shape().dims();
        let (output, places) = B::maximum(input.into_primitive());
        let output = match Maximum.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((places.clone(), shape), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        (output, places)
    }

    fn descent(logits: FloatTensor<Self>, temperature: f64, entropy: bool) -> FloatTensor<Self> {
        Self::from_inner(B::descent(logits.into_primitive(), temperature, entropy))
    }

    fn step(images: FloatTensor<Self>, gradient: FloatTensor<Self>, by: FloatTensor<Self>) -> FloatTensor<Self> {
        let [images, gradient, by] = [images, gradient, by].map(|tensor| tensor.into_primitive());
        Self::from_inner(B::step(images, gradient, by))
    }

    fn margin_entropy(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        left_out: usize,
        settings: [f64; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let node = logits.node();
        let (loss, gradient) = B::margin_entropy(logits.into_primitive(), targets.into_primitive(), left_out, settings);
        let loss = match Loss.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(gradient.clone(), loss),
            OpsKind::UnTracked(prepared) => prepared.finish(loss),
        };
        (loss, Self::from_inner(gradient))
    }

    fn with_gradient(output: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        let (node, output) = (output.node(), output.into_primitive());
        match Given.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(gradient.into_primitive(), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

#[derive(Debug)]
struct Maximum;

impl<B: HeadOps> Backward<B, 1> for Maximum {
    type State = (IntTensor<B>, [usize; 4]);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([node], (places, shape)) = (ops.parents, ops.state);
        if let Some(node) = node {
            gradients.register::<B>(node.id, B::maximum_gradient(gradient, places, shape));
        }
    }
}

#[derive(Debug)]
struct Loss;

impl<B: HeadOps> Backward<B, 1> for Loss {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let gradient = B::float_reshape(gradient, [1, 1].into());
        let ([node], of) = (ops.parents, ops.state);
        if let Some(node) = node {
            gradients.register::<B>(node.id, B::float_mul(of, gradient));
        }
    }
}

#[derive(Debug)]
struct Given;

impl<B: Backend> Backward<B, 1> for Given {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let _ = gradients.consume::<B>(&ops.node);
        let ([node], gradient) = (ops.parents, ops.state);
        if let Some(node) = node {
            gradients.register::<B>(node.id, gradient);
        }
    }
}
