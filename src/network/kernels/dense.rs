//! A dense block that is made ready for scoring, as one operation, where the device has one.
//!
//! Each layer appends `last(max(0, scale' narrow(max(0, scale x + shift)) + shift'))` to its input `x`, where `narrow` and `last` are
//! convolutions whose output is as large as their input. The block's input has a gradient, all else are constants.

use std::sync::Arc;

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
    tensor::{Tensor, TensorData},
};

use super::{
    cpu::dense::{self, Maps},
    layer::Layer,
    values::values,
};

/// A dense block, ready.
#[derive(Clone, Debug)]
pub struct Block(Arc<Vec<dense::Layer>>);

impl Block {
    /// Of the scale and shift `[channels]` before each layer's two convolutions, and these; none where the device has no kernels
    /// for it. The second ones have neither scale nor shift of their own.
    pub fn new(layers: impl Iterator<Item = ([Tensor<1>; 2], Layer, Layer)>) -> Option<Self> {
        let of = |(activation, narrow, last): ([Tensor<1>; 2], Layer, Layer)| {
            let (weights, [narrow_scale, narrow_shift]) = narrow.packed()?;
            let (last, _) = last.packed()?;
            let [scale, shift] = activation.map(|tensor| tensor.into_data().try_to_vec().expect("single precision"));
            Some(dense::Layer { scale, shift, narrow: weights, narrow_scale, narrow_shift, last })
        };
        layers.map(of).collect::<Option<_>>().map(|layers| Block(Arc::new(layers)))
    }

    /// `[n, height, width, outputs]` of `input` `[n, height, width, channels]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let (output, _) = <Dispatch as DenseOps>::dense(input.into_dispatch(), self.clone(), false);
        Tensor::from_dispatch(output)
    }
}

#[backend_extension(
    Autodiff,
    Flex,
    Cube: cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm")),
    LibTorch: cfg(feature = "libtorch")
)]
pub trait DenseOps: Backend {
    /// See [`Block`]; with what the way back needs, if that is `kept`. Only devices for which there are blocks are asked.
    fn dense(input: FloatTensor<Self>, block: Block, kept: bool) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let _ = (input, block, kept);
        unreachable!("there are no blocks for this device")
    }

    /// The gradient of the input, from that of the output.
    fn dense_gradient(
        output: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        block: Block,
    ) -> FloatTensor<Self> {
        let _ = (output, kept, gradient, block);
        unreachable!("there are no blocks for this device")
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
impl DenseOps for Cube {}

#[cfg(feature = "libtorch")]
#[allow(deprecated, reason = "as in network/torch")]
impl DenseOps for LibTorch {}

impl DenseOps for Flex {
    fn dense(input: FloatTensor<Self>, block: Block, kept: bool) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let [images, height, width, channels] = input.shape().dims();
        let maps = Maps { images, size: [height, width], channels };
        let (output, between) = dense::forward(&block.0, maps, &values(input), kept);
        let outputs = maps.outputs(&block.0);
        let output = FloatTensor::<Self>::from_data(TensorData::new(output, [images, height, width, outputs]));
        let length = between.len();
        (output, kept.then(|| FloatTensor::<Self>::from_data(TensorData::new(between, [length]))))
    }

    fn dense_gradient(
        output: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        block: Block,
    ) -> FloatTensor<Self> {
        let [images, height, width, outputs] = output.shape().dims();
        let channels = outputs + outputs - Maps { images, size: [height, width], channels: outputs }.outputs(&block.0);
        let maps = Maps { images, size: [height, width], channels };
        let gradient = values(gradient).to_vec();
        let gradient = dense::backward(&block.0, maps, &values(output), &values(kept), gradient);
        FloatTensor::<Self>::from_data(TensorData::new(gradient, [images, height, width, channels]))
    }
}

impl<B: DenseOps, C: CheckpointStrategy> DenseOps for Autodiff<B, C> {
    fn dense(input: FloatTensor<Self>, block: Block, _: bool) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let node = input.node();
        let input = input.into_primitive();
        let output = match DenseStep.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (output, kept) = B::dense(input, block.clone(), true);
                let kept = kept.expect("it was asked for");
                prepared.finish((output.clone(), kept, block), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::dense(input, block, false).0),
        };
        (output, None)
    }
}

#[derive(Debug)]
struct DenseStep;

impl<B: DenseOps> Backward<B, 1> for DenseStep {
    type State = (FloatTensor<B>, FloatTensor<B>, Block);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([node], (output, kept, block)) = (ops.parents, ops.state);
        if let Some(node) = node {
            gradients.register::<B>(node.id, B::dense_gradient(output, kept, gradient, block));
        }
    }
}
