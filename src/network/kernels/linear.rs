//! The product of a batch of features and a matrix of weights.
//!
//! Burn's own product brings every tiled kernel of its GPU backends into the program, a third of its size, for matrices so
//! small that they do not matter: here a GPU has a plain kernel of ours.

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use burn::backend::Cube;
#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;
use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        ops::FloatTensorOps,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use super::{convolution::in_single, gpu};

/// `[n, outputs]` from `input` `[n, inputs]` and `weight` `[inputs, outputs]`.
pub fn linear(input: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as LinearOps>::product(input.into_dispatch(), weight.into_dispatch()))
}

#[backend_extension(
    Autodiff,
    Flex,
    Cube: cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm")),
    LibTorch: cfg(feature = "libtorch")
)]
pub trait LinearOps: Backend {
    /// See [`linear`].
    fn product(input: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl LinearOps for Flex {
    fn product(input: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(input, weight)
    }
}

#[cfg(feature = "libtorch")]
#[allow(deprecated, reason = "as in network/torch")]
impl LinearOps for LibTorch {
    fn product(input: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(input, weight)
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
impl LinearOps for Cube {
    fn product(input: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        in_single::<Self, 2>([input, weight], |[input, weight]| gpu::head::product(input, weight))
    }
}

/// Gradients of both factors are such products again.
impl<B: LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn product(input: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (input_node, weight_node) = (input.node(), weight.node());
        let (input, weight) = (input.into_primitive(), weight.into_primitive());
        match Linear.prepare::<C>([input_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let output = B::product(input.clone(), weight.clone());
                prepared.finish((input, weight), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::product(input, weight)),
        }
    }
}

#[derive(Debug)]
struct Linear;

impl<B: LinearOps> Backward<B, 2> for Linear {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([input_node, weight_node], (input, weight)) = (ops.parents, ops.state);
        if let Some(node) = input_node {
            let input = B::product(gradient.clone(), B::float_transpose(weight));
            gradients.register::<B>(node.id, input);
        }
        if let Some(node) = weight_node {
            let weight = B::product(B::float_transpose(input), gradient);
            gradients.register::<B>(node.id, weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// By hand: `y = x w` and the gradients of the sum of `y * c`.
    #[test]
    fn product_and_gradients_are_those_by_hand() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device).require_grad();
        let w = Tensor::<2>::from_floats([[1.0, -1.0], [0.0, 2.0], [3.0, 1.0]], &device).require_grad();
        let y = linear(x.clone(), w.clone());
        y.clone().into_data().assert_eq(&TensorData::from([[10.0f32, 6.0], [22.0, 12.0]]), true);
        let c = Tensor::from_floats([[1.0, 10.0], [100.0, 1000.0]], &device);
        let gradients = (y * c).sum().backward();
        let of = |tensor: Tensor<2>| tensor.grad(&gradients).unwrap().into_data();
        of(x).assert_eq(&TensorData::from([[-9.0f32, 20.0, 13.0], [-900.0, 2000.0, 1300.0]]), true);
        of(w).assert_eq(&TensorData::from([[401.0f32, 4010.0], [502.0, 5020.0], [603.0, 6030.0]]), true);
    }
}
