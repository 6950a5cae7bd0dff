//! Square convolutions.
//!
//! `output[n, y, x, o]` is the sum over `i`, `ky` and `kx` of `weight[o, i, ky, kx]` times
//! `input[n, stride y + ky - padding, stride x + kx - padding, i]`, where what lies outside of the input is 0. Both factors have
//! gradients. On a CPU all three directions are ours ([`cpu`]); other devices, and numbers in other than single precision, take
//! Burn's own.

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use burn::backend::Cube;
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
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Slice, Tensor, ops::ConvOptions},
};

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
    fn input_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        // Burn's own goes through its matrix products, which would make the program half as large again.
        by_turned_filters::<Self>(input, weight, gradient, geometry)
    }
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

/// The gradient of the input as a convolution of the output's gradient, with zeros between its pixels where there is a stride, and
/// the filters turned round.
#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm", test))]
fn by_turned_filters<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
    geometry: Geometry,
) -> FloatTensor<B> {
    let ([_, height, width, _], [_, _, kernel, _]) = (input.shape().dims(), weight.shape().dims());
    let Geometry { stride, padding, .. } = geometry;
    let spread = |tensor: FloatTensor<B>, axis: usize, size: usize| {
        let shape: [usize; 4] = tensor.shape().dims();
        let [before, after] = [&shape[..axis], &shape[axis + 1..]].map(|sizes| sizes.iter().product());
        let tensor = B::float_reshape(tensor, [before, shape[axis], 1, after].into());
        let zeros = [before, shape[axis], stride - 1, after].into();
        let zeros = B::float_zeros(zeros, &tensor.device(), tensor.dtype().into());
        let mut apart = shape;
        apart[axis] *= stride;
        let tensor = B::float_reshape(B::float_cat(vec![tensor, zeros], 2), apart.into());
        let mut slices = apart.map(|size| Slice::from(0..size));
        slices[axis] = Slice::from(0..size);
        B::float_slice(tensor, &slices)
    };
    let mut gradient = gradient;
    if stride > 1 {
        for (axis, size) in [(1, height), (2, width)] {
            gradient = spread(gradient, axis, size + 2 * padding + 1 - kernel);
        }
    }
    let turned = B::float_swap_dims(B::float_flip(weight, &[2, 3]), 0, 1);
    let options = ConvOptions::new([1; 2], [kernel - 1 - padding; 2], [1; 2], 1);
    by_pixel::<B>(B::conv2d(planar::<B>(gradient), turned, None, options))
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

    #[test]
    fn turned_filters_give_the_gradient_of_the_input() {
        let device = Device::flex();
        for (size, kernel, stride, padding) in
            [([9, 8], 3, 1, 1), ([8, 8], 3, 2, 1), ([7, 10], 3, 2, 1), ([8, 7], 1, 2, 0), ([9, 9], 2, 3, 0)]
        {
            let out = size.map(|size| (size + 2 * padding - kernel) / stride + 1);
            let random = |shape: [usize; 4]| {
                let tensor = Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device).into_data();
                FloatTensor::<Flex>::from_data(tensor)
            };
            let (x, w) = (random([2, size[0], size[1], 3]), random([4, 3, kernel, kernel]));
            let g = random([2, out[0], out[1], 4]);
            let geometry = Geometry { stride, padding, pooled: false };
            let ours = by_turned_filters::<Flex>(x.clone(), w.clone(), g.clone(), geometry);
            let theirs = composed_input_gradient::<Flex>(x, w, g, geometry);
            ours.into_data().assert_approx_eq::<f32>(&theirs.into_data(), Tolerance::rel_abs(1e-5, 1e-5));
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
