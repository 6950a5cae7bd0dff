//! Batch normalisation with the ReLU that follows, while a network trains.
//!
//! `output = max(0, normal gamma + beta)`, where `normal` is the input less its mean over the pixels of the first images, divided by
//! the root of its variance there plus epsilon, for each channel. Input, gamma and beta have gradients. On a CPU both directions take one pass over
//! the maps for the sums and one for the result.

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
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Shape, Tensor},
};

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use super::gpu;
use super::{
    TRAINS,
    cpu::{self, machine::Machine, normal::inverse_deviations, source::Part},
    values::{numbers, tensor, values},
};

/// Of what a normalisation takes mean and variance.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// Of so many images, the first ones.
    pub images: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

impl Moments {
    /// How many pixels of `[n, height, width, channels]` they are of.
    fn pixels(self, shape: &Shape) -> usize {
        self.images * shape[1] * shape[2]
    }
}

/// `[n, height, width, channels]` of such an `input`, and its mean and its variance by the number of pixels, both `[channels]` and
/// constants.
pub fn normal(input: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, moments: Moments) -> (Tensor<4>, [Tensor<1>; 2]) {
    let [input, gamma, beta] = [input.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
    let (output, mean, variance) = <Dispatch as NormalOps>::normal(input, gamma, beta, moments);
    (Tensor::from_dispatch(output), [mean, variance].map(Tensor::from_dispatch))
}

#[backend_extension(
    Autodiff,
    Flex,
    Cube: cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm")),
    LibTorch: cfg(feature = "libtorch")
)]
pub trait NormalOps: Backend {
    /// See [`normal`].
    fn normal(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        moments: Moments,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::<Self>(input, gamma, beta, moments)
    }

    /// The gradients of input, gamma and beta, from that of the output.
    fn normal_gradient(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        moments: Moments,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed_gradient::<Self>(input, gamma, [mean, variance], moments, output, gradient)
    }
}

/// `[pixels, channels]` of `[.., channels]`.
fn flat<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let shape = tensor.shape();
    let channels = shape[shape.num_dims() - 1];
    B::float_reshape(tensor, [shape.num_elements() / channels.max(1), channels].into())
}

/// One over the root of the variance plus epsilon.
fn inverse_deviation<B: Backend>(variance: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    B::float_recip(B::float_sqrt(B::float_add_scalar(variance, epsilon.into())))
}

/// The first rows of `[rows, columns]`.
fn first<B: Backend>(tensor: FloatTensor<B>, rows: usize) -> FloatTensor<B> {
    B::float_slice(tensor, &[(0..rows).into()])
}

/// By Burn's operations.
fn composed<B: Backend>(
    input: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    moments: Moments,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = input.shape();
    let counted = moments.pixels(&shape);
    let [input, gamma, beta] = [input, gamma, beta].map(flat::<B>);
    let mean = B::float_mean_dim(first::<B>(input.clone(), counted), 0);
    let centred = B::float_sub(input, mean.clone());
    let counted = first::<B>(centred.clone(), counted);
    let variance = B::float_mean_dim(B::float_mul(counted.clone(), counted), 0);
    let scale = B::float_mul(inverse_deviation::<B>(variance.clone(), moments.epsilon), gamma);
    let output = B::relu(B::float_add(B::float_mul(centred, scale), beta));
    let [mean, variance] = [mean, variance].map(|moment| {
        let channels = moment.shape().num_elements();
        B::float_reshape(moment, [channels].into())
    });
    (B::float_reshape(output, shape), mean, variance)
}

/// The same for the gradients.
fn composed_gradient<B: Backend>(
    input: FloatTensor<B>,
    gamma: FloatTensor<B>,
    [mean, variance]: [FloatTensor<B>; 2],
    moments: Moments,
    output: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (shape, channels) = (input.shape(), gamma.shape());
    let counted = moments.pixels(&shape);
    let [input, output, gradient, gamma] = [input, output, gradient, gamma].map(flat::<B>);
    let [mean, variance] = [mean, variance].map(flat::<B>);
    let scale = inverse_deviation::<B>(variance, moments.epsilon);
    let gradient = B::relu_backward(output, gradient);
    let normal = B::float_mul(B::float_sub(input, mean), scale.clone());
    let beta = B::float_sum_dim(gradient.clone(), 0);
    let product = B::float_sum_dim(B::float_mul(gradient.clone(), normal.clone()), 0);
    // The moments, and what comes by them, are of the first images alone.
    let less = B::float_add(beta.clone(), B::float_mul(first::<B>(normal, counted), product.clone()));
    let less = B::float_mul_scalar(less, (1.0 / counted as f64).into());
    let own = B::float_sub(first::<B>(gradient.clone(), counted), less);
    let input = B::float_slice_assign(gradient, &[(0..counted).into()], own);
    let input = B::float_mul(input, B::float_mul(scale, gamma));
    (B::float_reshape(input, shape), B::float_reshape(product, channels.clone()), B::float_reshape(beta, channels))
}

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
impl NormalOps for Cube {
    fn normal(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        moments: Moments,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if input.dtype() != DType::F32 {
            return composed::<Self>(input, gamma, beta, moments);
        }
        let counted = moments.pixels(&input.shape());
        gpu::normal::normal(input, gamma, beta, moments.epsilon, counted).into()
    }

    fn normal_gradient(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        moments: Moments,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if input.dtype() != DType::F32 {
            return composed_gradient::<Self>(input, gamma, [mean, variance], moments, output, gradient);
        }
        let counted = moments.pixels(&input.shape());
        let normal =
            gpu::normal::Normal { input, output, gamma, moments: [mean, variance], epsilon: moments.epsilon, counted };
        gpu::normal::normal_gradient(normal, gradient).into()
    }
}

#[cfg(feature = "libtorch")]
#[allow(deprecated, reason = "as in network/torch")]
impl NormalOps for LibTorch {}

impl NormalOps for Flex {
    fn normal(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        moments: Moments,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !TRAINS || input.dtype() != DType::F32 {
            return composed::<Self>(input, gamma, beta, moments);
        }
        let (machine, shape) = (Machine::best(), input.shape());
        let (input, gamma, beta) = (values(input), values(gamma), values(beta));
        let counted = moments.pixels(&shape) * gamma.len();
        let part = Part { values: &input[..counted], first: 0, across: gamma.len() };
        let [mean, variance] = cpu::normal::moments(machine, part, gamma.len());
        let inverse = inverse_deviations(&variance, moments.epsilon);
        let [scale, shift] = cpu::normal::affine([&mean, &inverse], [&gamma, &beta]);
        let output = cpu::normal::activate(machine, &input, &scale, &shift);
        (tensor(output, shape), numbers(mean), numbers(variance))
    }

    fn normal_gradient(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        moments: Moments,
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !TRAINS || input.dtype() != DType::F32 {
            return composed_gradient::<Self>(input, gamma, [mean, variance], moments, output, gradient);
        }
        let (machine, shape) = (Machine::best(), input.shape());
        let [input, output, gradient] = [input, output, gradient].map(values);
        let [gamma, mean, variance] = [gamma, mean, variance].map(values);
        let inverse = inverse_deviations(&variance, moments.epsilon);
        let [sum, product] = cpu::normal::normal_sums(machine, &input, &output, &gradient, [&mean, &inverse]);
        let counted = moments.pixels(&shape);
        let factors = cpu::normal::factors(&gamma, [&mean, &inverse], [&sum, &product], counted);
        let input = cpu::normal::normal_gradient(
            machine,
            &input,
            &output,
            &gradient,
            factors.each_ref().map(Vec::as_slice),
            counted,
        );
        (tensor(input, shape), numbers(product), numbers(sum))
    }
}

impl<B: NormalOps, C: CheckpointStrategy> NormalOps for Autodiff<B, C> {
    fn normal(
        input: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        moments: Moments,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [input.node(), gamma.node(), beta.node()];
        let [input, gamma, beta] = [input, gamma, beta].map(|tensor| tensor.into_primitive());
        let (output, mean, variance) = B::normal(input.clone(), gamma.clone(), beta, moments);
        let tracked = match Normal.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let state = [input, gamma, mean.clone(), variance.clone(), output.clone()];
                prepared.finish((state, moments), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        (tracked, Self::from_inner(mean), Self::from_inner(variance))
    }
}

#[derive(Debug)]
struct Normal;

impl<B: NormalOps> Backward<B, 3> for Normal {
    type State = ([FloatTensor<B>; 5], Moments);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (nodes, ([input, gamma, mean, variance, output], moments)) = (ops.parents, ops.state);
        let (input, gamma, beta) = B::normal_gradient(input, gamma, mean, variance, moments, output, gradient);
        for (node, gradient) in nodes.into_iter().zip([input, gamma, beta]) {
            if let Some(node) = node {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, TensorData, Tolerance, activation::relu};

    use super::*;

    /// Against single operations of Burn, which derives their gradients.
    #[test]
    fn output_moments_and_gradients_are_those_of_burn() {
        let device = Device::flex().autodiff();
        let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(1.5, 2.0), &device);
        for (shape, counted) in [([5, 7, 9, 20], 5), ([2, 1, 3, 3], 1), ([300, 2, 2, 16], 300), ([300, 2, 2, 16], 217)]
        {
            let x = random(shape).require_grad();
            let [gamma, beta] = [(); 2]
                .map(|()| Tensor::<1>::random([shape[3]], Distribution::Uniform(-1.0, 1.0), &device).require_grad());
            let weights = random(shape);
            let results = [true, false].map(|ours| {
                let (y, moments) = match ours {
                    true => normal(x.clone(), gamma.clone(), beta.clone(), Moments { images: counted, epsilon: 1e-5 }),
                    false => {
                        let pixels = counted * shape[1] * shape[2];
                        let first = x.clone().narrow(0, 0, counted).reshape([pixels, shape[3]]);
                        let mean = first.clone().mean_dim(0);
                        let variance = (first - mean.clone()).square().mean_dim(0);
                        let wide = |of: &Tensor<2>| of.clone().reshape([1, 1, 1, shape[3]]);
                        let [gamma, beta] = [&gamma, &beta].map(|of| wide(&of.clone().unsqueeze()));
                        let output = (x.clone() - wide(&mean)) / (wide(&variance) + 1e-5).sqrt() * gamma + beta;
                        (relu(output), [mean, variance].map(|moment| moment.flatten(0, 1)))
                    }
                };
                let gradients = (y.clone() * weights.clone()).sum().backward();
                let mut found = vec![y.into_data(), x.grad(&gradients).unwrap().into_data()];
                found.extend([&gamma, &beta].map(|tensor| tensor.grad(&gradients).unwrap().into_data()));
                found.extend(moments.map(|moment| moment.into_data()));
                found
            });
            let [ours, theirs] = results;
            for (ours, theirs) in ours.iter().zip(&theirs) {
                ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(2e-4, 2e-4));
            }
        }
    }

    #[test]
    fn other_devices_compute_the_same() {
        let of = |shape: &[usize], seed: u64| {
            let count = shape.iter().product::<usize>() as u64;
            let value = |index: u64| ((index * 2_654_435_761 + seed * 97) % 1000) as f32 / 500.0 - 0.7;
            let data = TensorData::new((0..count).map(value).collect(), shape.to_vec());
            FloatTensor::<Flex>::from_data(data)
        };
        let (x, gamma, beta, g) = (of(&[3, 4, 5, 6], 1), of(&[6], 2), of(&[6], 3), of(&[3, 4, 5, 6], 4));
        let moments = Moments { images: 2, epsilon: 1e-3 };
        let ours = Flex::normal(x.clone(), gamma.clone(), beta.clone(), moments);
        let theirs = composed::<Flex>(x.clone(), gamma.clone(), beta, moments);
        let (y, mean, variance) = ours.clone();
        let our_gradients = Flex::normal_gradient(
            x.clone(),
            gamma.clone(),
            mean.clone(),
            variance.clone(),
            moments,
            y.clone(),
            g.clone(),
        );
        let their_gradients = composed_gradient::<Flex>(x, gamma, [mean, variance], moments, y, g);
        for (ours, theirs) in [
            (ours.0, theirs.0),
            (ours.1, theirs.1),
            (ours.2, theirs.2),
            (our_gradients.0, their_gradients.0),
            (our_gradients.1, their_gradients.1),
            (our_gradients.2, their_gradients.2),
        ] {
            ours.into_data().assert_approx_eq::<f32>(&theirs.into_data(), Tolerance::rel_abs(1e-4, 1e-5));
        }
    }
}
