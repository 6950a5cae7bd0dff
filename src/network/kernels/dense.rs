//! A dense block as one operation, where the device has one: it neither copies maps to append to them nor keeps what it can compute
//! once more.
//!
//! Each layer appends `last(max(0, scale' narrow(max(0, scale x + shift)) + shift'))` to its input `x`, where `narrow` and `last` are
//! convolutions whose output is as large as their input. In a [`Block`], which is made ready for scoring, all but the block's input are
//! constants. While the network trains ([`train`]), scales and shifts are those of batch normalisation, and parameters have
//! gradients, too.

use std::sync::Arc;

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
    tensor::{DType, Tensor},
};

pub use super::cpu::dense::Training;
use super::{
    cpu::dense::{self, Maps},
    layer::Layer,
    values::{numbers, tensor, values},
};

/// Why no operation of a device without blocks is called.
const NONE: &str = "only devices that have blocks are asked";

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

/// Whether the device of `input` has an operation for blocks that train.
pub fn trains(input: &Tensor<4>) -> bool {
    <Dispatch as DenseOps>::trains(input.clone().into_dispatch())
}

/// Output and moments of a block that trains, from `input` `[n, height, width, channels]` and the layers' parameters one after the other:
/// `norms` of each both normalisations' gamma and beta, `filters` the weights of both convolutions. The moments are those of each
/// layer's normalisations over the first images, `[mean, variance]`, the variance by the number of pixels; they are constants.
pub fn train(input: Tensor<4>, norms: Tensor<1>, filters: Tensor<1>, training: Training) -> (Tensor<4>, Tensor<1>) {
    let [norms, filters] = [norms.into_dispatch(), filters.into_dispatch()];
    let (output, _, moments) = <Dispatch as DenseOps>::train(input.into_dispatch(), norms, filters, training);
    (Tensor::from_dispatch(output), Tensor::from_dispatch(moments))
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
        unreachable!("{NONE}")
    }

    /// See [`trains`].
    fn trains(input: FloatTensor<Self>) -> bool {
        let _ = input;
        false
    }

    /// See [`train`]; between the two what the way back needs.
    fn train(
        input: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        filters: FloatTensor<Self>,
        training: Training,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let _ = (input, norms, filters, training);
        unreachable!("{NONE}")
    }

    /// The gradients of input, `norms` and `filters`, from that of the output.
    fn train_gradient(
        output: FloatTensor<Self>,
        between: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        filters: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        training: Training,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let _ = (output, between, moments, norms, filters, gradient, training);
        unreachable!("{NONE}")
    }

    /// The gradient of the input, from that of the output.
    fn dense_gradient(
        output: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        block: Block,
    ) -> FloatTensor<Self> {
        let _ = (output, kept, gradient, block);
        unreachable!("{NONE}")
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
        (tensor(output, [images, height, width, outputs]), kept.then(|| numbers(between)))
    }

    fn dense_gradient(
        output: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        block: Block,
    ) -> FloatTensor<Self> {
        let [images, height, width, outputs] = output.shape().dims();
        // All but those that the layers append.
        let channels = outputs + outputs - Maps { images, size: [height, width], channels: outputs }.outputs(&block.0);
        let maps = Maps { images, size: [height, width], channels };
        let gradient = values(gradient).to_vec();
        let gradient = dense::backward(&block.0, maps, &values(output), &values(kept), gradient);
        tensor(gradient, [images, height, width, channels])
    }

    fn trains(input: FloatTensor<Self>) -> bool {
        input.dtype() == DType::F32
    }

    fn train(
        input: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        filters: FloatTensor<Self>,
        training: Training,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [images, height, width, channels] = input.shape().dims();
        let maps = Maps { images, size: [height, width], channels };
        let trained = training.forward(maps, &values(input), &values(norms), &values(filters));
        let [between, moments] = [trained.between, trained.moments].map(numbers);
        (tensor(trained.output, [images, height, width, channels + training.appended()]), between, moments)
    }

    fn train_gradient(
        output: FloatTensor<Self>,
        between: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        filters: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        training: Training,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [images, height, width, outputs] = output.shape().dims();
        let maps = Maps { images, size: [height, width], channels: outputs - training.appended() };
        let gradient = values(gradient).to_vec();
        let [output, between, moments] = [output, between, moments].map(values);
        let [norms, filters] = [norms, filters].map(values);
        let [input, norms, filters] =
            training.backward(maps, [&output, &between, &moments], [&norms, &filters], gradient);
        (tensor(input, [images, height, width, maps.channels]), numbers(norms), numbers(filters))
    }
}

impl<B: DenseOps, C: CheckpointStrategy> DenseOps for Autodiff<B, C> {
    fn trains(input: FloatTensor<Self>) -> bool {
        B::trains(input.into_primitive())
    }

    fn train(
        input: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        filters: FloatTensor<Self>,
        training: Training,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [input.node(), norms.node(), filters.node()];
        let [input, norms, filters] = [input, norms, filters].map(|tensor| tensor.into_primitive());
        let (output, between, moments) = B::train(input, norms.clone(), filters.clone(), training);
        let kept = [output.clone(), between.clone(), moments.clone()];
        let tracked = match TrainStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((kept, [norms, filters], training), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        (tracked, Self::from_inner(between), Self::from_inner(moments))
    }

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

#[derive(Debug)]
struct TrainStep;

impl<B: DenseOps> Backward<B, 3> for TrainStep {
    type State = ([FloatTensor<B>; 3], [FloatTensor<B>; 2], Training);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (nodes, ([output, between, moments], [norms, filters], training)) = (ops.parents, ops.state);
        let (input, norms, filters) = B::train_gradient(output, between, moments, norms, filters, gradient, training);
        for (node, gradient) in nodes.into_iter().zip([input, norms, filters]) {
            if let Some(node) = node {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}
