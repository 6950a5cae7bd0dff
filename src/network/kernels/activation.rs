//! A scale and a shift for each channel with the ReLU that follows: batch normalisation of a network that is made ready for scoring.
//!
//! `output = max(0, input scale + shift)`. The input has a gradient; scale and shift are constants. On a CPU it is one pass over the
//! maps, where Burn's operations take one for each step.

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
    tensor::{DType, Tensor},
};

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use super::gpu;
use super::{
    cpu::{self, machine::Machine},
    values::{tensor, values},
};

/// `[n, height, width, channels]` of such an `input`, and `scale` and `shift` `[channels]`.
pub fn activation(input: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>) -> Tensor<4> {
    let [input, scale, shift] = [input.into_dispatch(), scale.into_dispatch(), shift.into_dispatch()];
    Tensor::from_dispatch(<Dispatch as ActivateOps>::activate(input, scale, shift))
}

#[backend_extension(
    Autodiff,
    Flex,
    Cube: cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm")),
    LibTorch: cfg(feature = "libtorch")
)]
pub trait ActivateOps: Backend {
    /// See [`activation`].
    fn activate(input: FloatTensor<Self>, scale: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::<Self>(input, scale, shift)
    }

    /// The gradient of the input, from the output and its gradient.
    fn activate_gradient(
        output: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed_gradient::<Self>(output, scale, gradient)
    }
}

/// By Burn's operations.
fn composed<B: Backend>(input: FloatTensor<B>, scale: FloatTensor<B>, shift: FloatTensor<B>) -> FloatTensor<B> {
    let [scale, shift] = [scale, shift].map(across::<B>);
    B::relu(B::float_add(B::float_mul(input, scale), shift))
}

/// The same for the gradient.
fn composed_gradient<B: Backend>(
    output: FloatTensor<B>,
    scale: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> FloatTensor<B> {
    B::float_mul(B::relu_backward(output, gradient), across::<B>(scale))
}

/// `[1, 1, 1, channels]` of `[channels]`.
pub(super) fn across<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
    let [channels] = values.shape().dims();
    B::float_reshape(values, [1, 1, 1, channels].into())
}

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
impl ActivateOps for Cube {
    fn activate(input: FloatTensor<Self>, scale: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self> {
        if input.dtype() != DType::F32 {
            return composed::<Self>(input, scale, shift);
        }
        gpu::normal::activate(input, scale, shift)
    }

    fn activate_gradient(
        output: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if output.dtype() != DType::F32 {
            return composed_gradient::<Self>(output, scale, gradient);
        }
        gpu::normal::activate_gradient(output, scale, gradient)
    }
}

#[cfg(feature = "libtorch")]
#[allow(deprecated, reason = "as in network/torch")]
impl ActivateOps for LibTorch {}

impl ActivateOps for Flex {
    fn activate(input: FloatTensor<Self>, scale: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self> {
        if input.dtype() != DType::F32 {
            return composed::<Self>(input, scale, shift);
        }
        let shape = input.shape();
        let output = cpu::normal::activate(Machine::best(), &values(input), &values(scale), &values(shift));
        tensor(output, shape)
    }

    fn activate_gradient(
        output: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if output.dtype() != DType::F32 {
            return composed_gradient::<Self>(output, scale, gradient);
        }
        let shape = output.shape();
        let (output, scale, gradient) = (values(output), values(scale), values(gradient));
        let input = cpu::normal::activate_gradient(Machine::best(), &output, &scale, &gradient);
        tensor(input, shape)
    }
}

impl<B: ActivateOps, C: CheckpointStrategy> ActivateOps for Autodiff<B, C> {
    fn activate(input: FloatTensor<Self>, scale: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self> {
        let node = input.node();
        let [input, scale, shift] = [input, scale, shift].map(|tensor| tensor.into_primitive());
        match Activate.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let output = B::activate(input, scale.clone(), shift);
                prepared.finish((output.clone(), scale), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::activate(input, scale, shift)),
        }
    }
}

#[derive(Debug)]
struct Activate;

impl<B: ActivateOps> Backward<B, 1> for Activate {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([node], (output, scale)) = (ops.parents, ops.state);
        if let Some(node) = node {
            gradients.register::<B>(node.id, B::activate_gradient(output, scale, gradient));
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn what_is_not_a_number_stays_so() {
        let device = Device::flex();
        let one = Tensor::<1>::ones([1], &device);
        let x = Tensor::<4>::from_floats([[[[f32::NAN], [-1.0]]]], &device);
        let y: Vec<f32> = activation(x, one.clone(), one.zeros_like()).into_data().try_to_vec().unwrap();
        assert!(y[0].is_nan() && y[1] == 0.0, "{y:?}");
    }

    /// By hand: two channels, of which one turns the sign.
    #[test]
    fn output_and_gradient_are_those_by_hand() {
        let device = Device::flex().autodiff();
        let x = Tensor::<4>::from_floats([[[[1.0, 1.0], [-1.0, -1.0]]]], &device).require_grad();
        let y =
            activation(x.clone(), Tensor::from_floats([2.0, -3.0], &device), Tensor::from_floats([0.5, 1.0], &device));
        y.clone().into_data().assert_eq(&TensorData::from([[[[2.5f32, 0.0], [0.0, 4.0]]]]), true);
        let gradients = (y * Tensor::from_floats([[[[1.0, 10.0], [100.0, 1000.0]]]], &device)).sum().backward();
        let gradient = x.grad(&gradients).unwrap().into_data();
        gradient.assert_eq(&TensorData::from([[[[2.0f32, 0.0], [0.0, -3000.0]]]]), true);
    }
}
