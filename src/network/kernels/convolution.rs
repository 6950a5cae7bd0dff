//! Square convolutions.
//!
//! `output[n, y, x, o]` is the sum over `i`, `ky` and `kx` of `weight[o, i, ky, kx]` times
//! `input[n, stride y + ky - padding, stride x + kx - padding, i]`, where what lies outside of the input is 0. Both factors have
//! gradients. On a CPU all three directions are ours ([`cpu`]); other devices, and numbers in other than single precision, take
//! Burn's own.

#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;
#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use burn::{backend::Cube, tensor::FloatDType};
use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Tensor, ops::ConvOptions},
};

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use super::gpu;
use super::{
    TRAINS,
    cpu::{self, correlation::Then, machine::Machine, packed::Packed, shape::Shape, source::Source, sums},
    values::{tensor, values},
};

/// How filters move over a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels from one position of the filter to the next.
    pub stride: usize,
    /// Zeros on each side, less than the filter's size.
    pub padding: usize,
    /// Whether a 2 x 2 max pooling follows: the last row and column of an odd number of them may then be left out.
    pub pooled: bool,
}

impl Geometry {
    pub(super) fn options(self) -> ConvOptions<2> {
        ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], 1)
    }

    /// What a CPU's kernels compute of an input `[images, height, width, inputs]` and weights `[outputs, inputs, kernel, kernel]`.
    pub(super) fn shape(self, input: [usize; 4], weight: [usize; 4]) -> Shape {
        let ([images, height, width, inputs], [outputs, _, kernel, _]) = (input, weight);
        let Geometry { stride, padding, pooled: even } = self;
        Shape { images, inputs, size: [height, width], outputs, kernel, stride, padding, even }
    }
}

/// `[n, height, width, outputs]` from `input` `[n, .., inputs]` and `weight` `[outputs, inputs, size, size]`.
pub fn convolution(input: Tensor<4>, weight: Tensor<4>, geometry: Geometry) -> Tensor<4> {
    let output = <Dispatch as ConvolutionOps>::convolution(input.into_dispatch(), weight.into_dispatch(), geometry);
    Tensor::from_dispatch(output)
}

#[backend_extension(
    Autodiff,
    Flex,
    Cube: cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm")),
    LibTorch: cfg(feature = "libtorch")
)]
pub trait ConvolutionOps: Backend {
    /// See [`convolution`].
    fn convolution(input: FloatTensor<Self>, weight: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self> {
        composed::<Self>(input, weight, geometry)
    }

    /// The gradient of the input, from that of the output.
    fn input_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        composed_input_gradient::<Self>(input, weight, gradient, geometry)
    }

    /// The gradient of the weights, from that of the output.
    fn weight_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        composed_weight_gradient::<Self>(input, weight, gradient, geometry)
    }
}

/// `[n, channels, height, width]`, as Burn has it, of `[n, height, width, channels]`.
pub(super) fn planar<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    B::float_permute(tensor, &[0, 3, 1, 2])
}

/// And back.
pub(super) fn by_pixel<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    B::float_permute(tensor, &[0, 2, 3, 1])
}

/// By Burn's operations.
fn composed<B: Backend>(input: FloatTensor<B>, weight: FloatTensor<B>, geometry: Geometry) -> FloatTensor<B> {
    by_pixel::<B>(B::conv2d(planar::<B>(input), weight, None, geometry.options()))
}

/// The same for the input's gradient.
fn composed_input_gradient<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
    geometry: Geometry,
) -> FloatTensor<B> {
    let [input, gradient] = [input, gradient].map(planar::<B>);
    by_pixel::<B>(B::conv2d_x_backward(input, weight, gradient, geometry.options()))
}

/// The same for the weights' gradient.
fn composed_weight_gradient<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
    geometry: Geometry,
) -> FloatTensor<B> {
    let [input, gradient] = [input, gradient].map(planar::<B>);
    B::conv2d_weight_backward(input, weight, gradient, geometry.options())
}

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
impl ConvolutionOps for Cube {
    fn convolution(input: FloatTensor<Self>, weight: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self> {
        let shape = geometry.shape(input.shape().dims(), weight.shape().dims());
        in_single::<Self, 2>([input, weight], |[input, weight]| {
            gpu::correlation::forward(&shape, input, &gpu::packed::Packed::forward(weight), None).0
        })
    }

    fn input_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        let shape = geometry.shape(input.shape().dims(), weight.shape().dims());
        in_single::<Self, 2>([gradient, weight], |[gradient, weight]| {
            gpu::correlation::backward(&shape, gradient, &gpu::packed::Packed::backward(weight))
        })
    }

    fn weight_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        let shape = geometry.shape(input.shape().dims(), weight.shape().dims());
        in_single::<Self, 2>([input, gradient], |[input, gradient]| {
            gpu::sums::weight_gradient(&shape, input, gradient, weight.shape())
        })
    }
}

/// What is computed of these in single precision, in their own.
#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
pub(super) fn in_single<B: Backend, const N: usize>(
    tensors: [FloatTensor<B>; N],
    compute: impl FnOnce([FloatTensor<B>; N]) -> FloatTensor<B>,
) -> FloatTensor<B> {
    let precision = tensors[0].dtype();
    if precision == DType::F32 {
        return compute(tensors);
    }
    let output = compute(tensors.map(|tensor| B::float_cast(tensor, FloatDType::F32)));
    B::float_cast(output, precision.into())
}

#[cfg(feature = "libtorch")]
#[allow(deprecated, reason = "as in network/torch")]
impl ConvolutionOps for LibTorch {}

impl ConvolutionOps for Flex {
    fn convolution(input: FloatTensor<Self>, weight: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self> {
        let Some((shape, [height, width])) = shape(&input, &weight, geometry) else {
            return composed::<Self>(input, weight, geometry);
        };
        let weight = Packed::forward(Machine::best(), shape.filters(), &values(weight));
        let output = cpu::forward(&shape, &values(input), &weight, Then::Nothing).values;
        tensor(output, [shape.images, height, width, shape.outputs])
    }

    fn input_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        let Some((shape, _)) = shape(&input, &weight, geometry) else {
            return composed_input_gradient::<Self>(input, weight, gradient, geometry);
        };
        let weight = Packed::backward(Machine::best(), shape.filters(), &values(weight));
        let values = cpu::backward(&shape, Source::Plain(&values(gradient)), &weight);
        tensor(values, input.shape())
    }

    fn weight_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        let Some((shape, _)) = shape(&input, &weight, geometry).filter(|_| TRAINS) else {
            return composed_weight_gradient::<Self>(input, weight, gradient, geometry);
        };
        let values = sums::weight_gradient(Machine::best(), &shape, Source::Plain(&values(input)), &values(gradient));
        tensor(values, weight.shape())
    }
}

/// What the kernels compute, and its height and width; none where they do not.
fn shape(input: &FloatTensor<Flex>, weight: &FloatTensor<Flex>, geometry: Geometry) -> Option<(Shape, [usize; 2])> {
    let shape = geometry.shape(input.shape().dims(), weight.shape().dims());
    let out = shape.out()?;
    (input.dtype() == DType::F32 && weight.dtype() == DType::F32).then_some((shape, out))
}

impl<B: ConvolutionOps, C: CheckpointStrategy> ConvolutionOps for Autodiff<B, C> {
    fn convolution(input: FloatTensor<Self>, weight: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self> {
        let nodes = [input.node(), weight.node()];
        let (input, weight) = (input.into_primitive(), weight.into_primitive());
        match Convolution.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let output = B::convolution(input.clone(), weight.clone(), geometry);
                prepared.finish((input, weight, geometry), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::convolution(input, weight, geometry)),
        }
    }
}

#[derive(Debug)]
struct Convolution;

impl<B: ConvolutionOps> Backward<B, 2> for Convolution {
    type State = (FloatTensor<B>, FloatTensor<B>, Geometry);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([input_node, weight_node], (input, weight, geometry)) = (ops.parents, ops.state);
        if let Some(node) = input_node {
            let input = B::input_gradient(input.clone(), weight.clone(), gradient.clone(), geometry);
            gradients.register::<B>(node.id, input);
        }
        if let Some(node) = weight_node {
            gradients.register::<B>(node.id, B::weight_gradient(input, weight, gradient, geometry));
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tolerance, module::conv2d};

    use super::*;

    /// Ours against Burn's own, with the gradients of both factors.
    #[test]
    fn gradients_are_those_of_burn() {
        let device = Device::flex().autodiff();
        for (input, weight, stride, padding) in [
            ([3, 9, 9, 5], [7, 5, 3, 3], 1, 1),
            ([2, 8, 8, 8], [4, 8, 3, 3], 2, 1),
            ([4, 7, 6, 3], [20, 3, 1, 1], 1, 0),
            ([2, 8, 8, 6], [3, 6, 1, 1], 2, 0),
        ] {
            let random = |shape: [usize; 4]| {
                Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device).require_grad()
            };
            let (x, w) = (random(input), random(weight));
            let geometry = Geometry { stride, padding, pooled: false };
            let results = [true, false].map(|ours| {
                let y = match ours {
                    true => convolution(x.clone(), w.clone(), geometry),
                    false => {
                        let x = x.clone().permute([0, 3, 1, 2]);
                        conv2d(x, w.clone(), None, geometry.options()).permute([0, 2, 3, 1])
                    }
                };
                let gradients = y.clone().powf_scalar(2.0).sum().backward();
                [y.into_data(), x.grad(&gradients).unwrap().into_data(), w.grad(&gradients).unwrap().into_data()]
            });
            let [ours, theirs] = results;
            for (ours, theirs) in ours.iter().zip(&theirs) {
                ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(1e-4, 1e-4));
            }
        }
    }

    /// A view of a larger tensor is read as it stands.
    #[test]
    fn views_are_read_as_they_stand() {
        let device = Device::flex();
        let x = Tensor::<4>::random([2, 5, 4, 6], Distribution::Default, &device);
        let w = Tensor::<4>::random([3, 6, 3, 3], Distribution::Default, &device);
        let turned = x.clone().swap_dims(1, 2);
        let copied = Tensor::from_data(turned.to_data(), &device);
        let of = |x| convolution(x, w.clone(), Geometry { stride: 1, padding: 1, pooled: false }).into_data();
        of(turned).assert_eq(&of(copied), true);
    }
}
