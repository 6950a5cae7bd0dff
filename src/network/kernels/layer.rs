//! A convolution with all that follows it in a network that is made ready for scoring.
//!
//! `output = max(0, scale x + shift)`, where `x` is a [`convolution`](super::convolution), of which a max pooling may take the largest
//! of each 2 x 2 pixels first, and the ReLU may be left out. The input has a gradient, the rest are constants. On a CPU weights
//! are packed once, when the layer is made, and all of it happens while the sums are at hand; scale and shift, which are those of a
//! batch normalisation, follow the pooling as they do in training, so that a negative scale needs no care.

use std::sync::Arc;

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use burn::backend::Cube;
#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;
use burn::{
    backend::{
        Autodiff, Dispatch, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Shape, Tensor, TensorData},
};

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
use super::gpu;
use super::{
    activation::across,
    convolution::{ConvolutionOps, Geometry},
    cpu::{
        self,
        correlation::{Finish, Then},
        machine::Machine,
        packed,
        source::Source,
    },
    pool::PoolOps,
    values::{tensor, values},
};

/// A convolution made ready for scoring.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `[outputs, inputs, size, size]`; one zero where it is packed.
    pub weight: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    options: Options,
}

/// What a layer does beside multiplying.
#[derive(Clone, Debug)]
pub struct Options {
    geometry: Geometry,
    relu: bool,
    /// Whether a gradient will be asked for, which has to know the places of the largest.
    tracked: bool,
    packed: Option<Weights>,
}

impl Layer {
    /// With `weight` `[outputs, inputs, size, size]`, and `scale` and `shift` `[outputs]`.
    pub fn new(weight: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>, geometry: Geometry, relu: bool) -> Self {
        let ready = <Dispatch as LayerOps>::pack(weight.clone().into_dispatch());
        let weight = if ready.0.is_some() {
            Tensor::from_data(TensorData::zeros::<f32, _>([1, 1, 1, 1]), &weight.device())
        } else {
            weight
        };
        Layer { weight, scale, shift, options: Options { geometry, relu, tracked: false, packed: ready.0 } }
    }

    /// Its weights, scale and shift, where they are packed for a CPU.
    pub fn packed(&self) -> Option<(Arc<packed::Weights>, [Vec<f32>; 2])> {
        let Some(Weights::Cpu(weights)) = self.options.packed.clone() else { return None };
        let of = |tensor: &Tensor<1>| tensor.to_data().try_to_vec().expect("single precision");
        Some((weights, [of(&self.scale), of(&self.shift)]))
    }

    /// `[n, height, width, outputs]` of `input` `[n, .., inputs]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let Layer { weight, scale, shift, options } = self.clone();
        let [weight, scale, shift] = [weight.into_dispatch(), scale.into_dispatch(), shift.into_dispatch()];
        let (output, _) = <Dispatch as LayerOps>::layer(input.into_dispatch(), weight, scale, shift, options);
        Tensor::from_dispatch(output)
    }
}

/// Weights in the order in which a device's kernels read them.
#[derive(Clone, Debug)]
enum Weights {
    Cpu(Arc<packed::Weights>),
    #[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
    Gpu(Arc<gpu::packed::Filters>),
}

/// What [`LayerOps::pack`] makes, if anything.
#[derive(Debug)]
pub struct Ready(Option<Weights>);

#[backend_extension(
    Autodiff,
    Flex,
    Cube: cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm")),
    LibTorch: cfg(feature = "libtorch")
)]
pub trait LayerOps: ConvolutionOps + PoolOps {
    /// Weights in the order in which the device's kernels read them, where it has such.
    fn pack(weight: FloatTensor<Self>) -> Ready {
        let _ = weight;
        Ready(None)
    }

    /// See [`Layer`]; with the places of the largest where it pools.
    fn layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, Option<IntTensor<Self>>) {
        composed::<Self>(input, weight, scale, shift, options)
    }
}

/// The way back, which only the gradient's bookkeeping takes.
pub trait LayerGradientOps: ConvolutionOps + PoolOps {
    /// The gradient of the input, from the output and its gradient.
    fn layer_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        output: FloatTensor<Self>,
        places: Option<IntTensor<Self>>,
        gradient: FloatTensor<Self>,
        options: Options,
    ) -> FloatTensor<Self> {
        composed_gradient::<Self>(input, weight, scale, output, places, gradient, options)
    }
}

/// Of the operations that there are.
fn composed<B: ConvolutionOps + PoolOps>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    options: Options,
) -> (FloatTensor<B>, Option<IntTensor<B>>) {
    let mut output = B::convolution(input, weight, Geometry { pooled: false, ..options.geometry });
    let mut places = None;
    if options.geometry.pooled {
        let (pooled, of) = B::max_pool(output);
        (output, places) = (pooled, Some(of));
    }
    let [scale, shift] = [scale, shift].map(across::<B>);
    let output = B::float_add(B::float_mul(output, scale), shift);
    (if options.relu { B::relu(output) } else { output }, places)
}

/// The same for the gradient.
fn composed_gradient<B: ConvolutionOps + PoolOps>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    scale: FloatTensor<B>,
    output: FloatTensor<B>,
    places: Option<IntTensor<B>>,
    gradient: FloatTensor<B>,
    options: Options,
) -> FloatTensor<B> {
    let mut gradient = if options.relu { B::relu_backward(output, gradient) } else { gradient };
    gradient = B::float_mul(gradient, across::<B>(scale));
    if let Some(places) = places {
        let shape = Geometry { pooled: false, ..options.geometry }.shape(input.shape().dims(), weight.shape().dims());
        let [height, width] = shape.out().expect("filters fit");
        let shape = Shape::from([shape.images, height, width, shape.outputs]);
        gradient = B::max_pool_gradient(gradient, places, shape);
    }
    B::input_gradient(input, weight, gradient, Geometry { pooled: false, ..options.geometry })
}

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
impl LayerOps for Cube {
    fn pack(weight: FloatTensor<Self>) -> Ready {
        if weight.dtype() != DType::F32 {
            return Ready(None);
        }
        Ready(Some(Weights::Gpu(Arc::new(gpu::packed::Filters::new(weight)))))
    }

    fn layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, Option<IntTensor<Self>>) {
        let Options { geometry, relu, tracked, packed: Some(Weights::Gpu(filters)) } = options else {
            return composed::<Self>(input, weight, scale, shift, options);
        };
        let shape = geometry.shape(input.shape().dims(), filters.shape);
        let finish = gpu::correlation::Finish { scale, shift, relu, pool: geometry.pooled, places: tracked };
        gpu::correlation::forward(&shape, input, &filters.forward, Some(finish))
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
impl LayerGradientOps for Cube {
    fn layer_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        output: FloatTensor<Self>,
        places: Option<IntTensor<Self>>,
        gradient: FloatTensor<Self>,
        options: Options,
    ) -> FloatTensor<Self> {
        let Options { geometry, relu, packed: Some(Weights::Gpu(filters)), .. } = options else {
            return composed_gradient::<Self>(input, weight, scale, output, places, gradient, options);
        };
        let shape = geometry.shape(input.shape().dims(), filters.shape);
        let [height, width] = shape.out().expect("filters fit");
        let behind = gpu::pool::Behind { finish: Some((output, scale)), relu, places };
        let maps = [shape.images, height, width, shape.outputs].into();
        gpu::correlation::backward(&shape, gpu::pool::gradient(gradient, behind, maps), &filters.backward)
    }
}

#[cfg(feature = "libtorch")]
#[allow(deprecated, reason = "as in network/torch")]
impl LayerOps for LibTorch {}

#[cfg(feature = "libtorch")]
#[allow(deprecated, reason = "as in network/torch")]
impl LayerGradientOps for LibTorch {}

impl LayerOps for Flex {
    fn pack(weight: FloatTensor<Self>) -> Ready {
        if weight.dtype() != DType::F32 {
            return Ready(None);
        }
        let shape = weight.shape().dims();
        Ready(Some(Weights::Cpu(Arc::new(packed::Weights::new(Machine::best(), shape, &values(weight))))))
    }

    fn layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, Option<IntTensor<Self>>) {
        let Options { geometry, relu, tracked, packed: Some(Weights::Cpu(weights)) } = options else {
            return composed::<Self>(input, weight, scale, shift, options);
        };
        let shape = geometry.shape(input.shape().dims(), weights.shape);
        let (scale, shift) = (values(scale), values(shift));
        let pool = geometry.pooled;
        let finish = Finish { scale: &scale, shift: &shift, relu, pool, places: pool && tracked };
        let output = cpu::forward(&shape, &values(input), &weights.forward, Then::Finish(finish));
        let [height, width] = shape.out().expect("filters fit").map(|side| if pool { side / 2 } else { side });
        let shape = [shape.images, height, width, shape.outputs];
        let places = finish.places.then(|| IntTensor::<Self>::from_data(TensorData::new(output.places, shape)));
        (tensor(output.values, shape), places)
    }
}

impl LayerGradientOps for Flex {
    fn layer_gradient(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        output: FloatTensor<Self>,
        places: Option<IntTensor<Self>>,
        gradient: FloatTensor<Self>,
        options: Options,
    ) -> FloatTensor<Self> {
        let Options { geometry, relu, packed: Some(Weights::Cpu(weights)), .. } = options else {
            return composed_gradient::<Self>(input, weight, scale, output, places, gradient, options);
        };
        let shape = geometry.shape(input.shape().dims(), weights.shape);
        let (scale, output, gradient) = (values(scale), values(output), values(gradient));
        let (scale, output, gradient) = (&scale[..], &output[..], &gradient[..]);
        let source = match &places {
            Some(places) => {
                let places = places.as_slice().expect("they are as they were made");
                Source::Pooled { gradient, output, places, scale, relu }
            }
            None => Source::Finished { gradient, output, scale, relu },
        };
        let values = cpu::backward(&shape, source, &weights.backward);
        tensor(values, input.shape())
    }
}

impl<B: LayerOps + LayerGradientOps, C: CheckpointStrategy> LayerOps for Autodiff<B, C> {
    fn pack(weight: FloatTensor<Self>) -> Ready {
        B::pack(weight.into_primitive())
    }

    fn layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        options: Options,
    ) -> (FloatTensor<Self>, Option<IntTensor<Self>>) {
        let node = input.node();
        let [input, weight, scale, shift] = [input, weight, scale, shift].map(|tensor| tensor.into_primitive());
        match LayerStep.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let options = Options { tracked: true, ..options };
                let (output, places) = B::layer(input.clone(), weight.clone(), scale.clone(), shift, options.clone());
                let state = ([input, weight, scale, output.clone()], places.clone(), options);
                (prepared.finish(state, output), places)
            }
            OpsKind::UnTracked(prepared) => {
                let (output, places) = B::layer(input, weight, scale, shift, options);
                (prepared.finish(output), places)
            }
        }
    }
}

#[derive(Debug)]
struct LayerStep;

impl<B: LayerGradientOps> Backward<B, 1> for LayerStep {
    type State = ([FloatTensor<B>; 4], Option<IntTensor<B>>, Options);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let ([node], ([input, weight, scale, output], places, options)) = (ops.parents, ops.state);
        if let Some(node) = node {
            let input = B::layer_gradient(input, weight, scale, output, places, gradient, options);
            gradients.register::<B>(node.id, input);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        backend::ops::FloatTensorOps,
        tensor::{Device, Distribution, Tolerance},
    };

    use super::*;

    /// A CPU's own way against the composed one, which other devices take; scales of both signs and of 0, odd sizes.
    #[test]
    fn packed_weights_give_what_the_single_operations_give() {
        let device = Device::flex();
        let random = |shape: &[usize]| -> FloatTensor<Flex> {
            let count = shape.iter().product::<usize>();
            let data = Tensor::<1>::random([count], Distribution::Uniform(-1.0, 1.0), &device).into_data();
            let values: Vec<f32> = data.try_to_vec().unwrap();
            FloatTensor::<Flex>::from_data(TensorData::new(values, shape.to_vec()))
        };
        for (input, outputs, size, stride, padding, pooled, relu) in [
            ([3, 9, 7, 5], 20, 3, 1, 1, true, true),
            ([2, 9, 9, 16], 32, 3, 1, 1, false, true),
            ([40, 3, 3, 8], 12, 3, 1, 1, true, false),
            ([7, 8, 8, 6], 64, 3, 2, 1, false, true),
            ([1, 6, 6, 4], 16, 1, 2, 0, false, false),
            ([2, 32, 32, 3], 24, 2, 1, 0, false, true),
        ] {
            let (x, w) = (random(&input), random(&[outputs, input[3], size, size]));
            let (mut scale, shift) = (random(&[outputs]).into_data().try_to_vec::<f32>().unwrap(), random(&[outputs]));
            scale[1] = 0.0;
            let scale = FloatTensor::<Flex>::from_data(TensorData::new(scale, [outputs]));
            let geometry = Geometry { stride, padding, pooled };
            let Ready(packed) = Flex::pack(w.clone());
            let options = |packed| Options { geometry, relu, tracked: true, packed };
            let results = [packed, None].map(|packed| {
                let options = options(packed);
                let (y, places) = Flex::layer(x.clone(), w.clone(), scale.clone(), shift.clone(), options.clone());
                assert_eq!(places.is_some(), pooled);
                let g = Flex::float_add_scalar(y.clone(), 0.3.into());
                let x = Flex::layer_gradient(x.clone(), w.clone(), scale.clone(), y.clone(), places, g, options);
                [y.into_data(), x.into_data()]
            });
            let [ours, theirs] = results;
            for (ours, theirs) in ours.iter().zip(&theirs) {
                ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(1e-4, 1e-4));
            }
        }
    }
}
