//! Training through PyTorch's own layers, half as fast again for the compact network as Burn's over the same library: images
//! stay channels-last, activations keep the convolutions' number format, and gradients come from PyTorch's kernels.
//!
//! In: a network whose weights libtorch holds, and images. Out: logits as a leaf of Burn's graph, so that the loss is
//! Burn's; after its backward pass, the parameters' gradients.
#![allow(deprecated, reason = "Burn announces the end of this backend, and has no other as fast on a CPU")]

use burn::{
    backend::{BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, libtorch::TchTensor},
    module::{Param, ParamId},
    nn::{BatchNorm, Dropout, Linear},
    optim::GradientsParams,
    tensor::{Gradients, Tensor},
};
use tch::Kind;

use super::{Classifier, Convolution, Precision};

/// The forward passes of one training step.
pub(crate) struct Graph<'a> {
    net: &'a Classifier,
    layers: Layers,
    /// Each pass's logits, as PyTorch and as Burn have them.
    passes: Vec<(tch::Tensor, Tensor<2>)>,
}

impl<'a> Graph<'a> {
    /// None where something else than libtorch holds the weights of `net`.
    pub(crate) fn new(net: &'a Classifier) -> Option<Self> {
        let weight = match net {
            Classifier::Compact(net) => net.fc.weight.val(),
            Classifier::DenseNet(net) => net.fc.weight.val(),
            Classifier::WideResNet(net) => net.fc.weight.val(),
        };
        torch(weight).map(|_| Graph { net, layers: Layers::default(), passes: Vec::new() })
    }

    /// Logits `[n, classes]` in training mode of `images` `[n, 3, 32, 32]`, normalised; also moves the running statistics.
    pub(crate) fn forward(&mut self, images: Tensor<4>) -> Tensor<2> {
        let images = channels_last(&torch(images).expect("images are where the weights are"));
        let logits = match self.net {
            Classifier::Compact(net) => net.torch(&images, &mut self.layers),
            Classifier::DenseNet(net) => net.torch(&images, &mut self.layers),
            Classifier::WideResNet(net) => net.torch(&images, &mut self.layers),
        };
        let leaf = burn_tensor::<2>(&logits).autodiff().require_grad();
        self.passes.push((logits, leaf.clone()));
        leaf
    }

    /// Gradients of the parameters, from those of the logits of all passes.
    pub(crate) fn gradients(self, gradients: &Gradients) -> GradientsParams {
        for (logits, leaf) in &self.passes {
            let gradient = leaf.grad(gradients).expect("the loss depends on the logits of each pass");
            (logits * torch(gradient).expect("gradients are where the logits are")).sum(Kind::Float).backward();
        }
        let mut result = GradientsParams::new();
        for (id, parameter) in self.layers.parameters.iter().filter(|(_, parameter)| parameter.requires_grad()) {
            let gradient = parameter.grad();
            match gradient.dim() {
                1 => result.register(*id, burn_tensor::<1>(&gradient)),
                2 => result.register(*id, burn_tensor::<2>(&gradient)),
                _ => result.register(*id, burn_tensor::<4>(&gradient)),
            }
        }
        result
    }
}

/// PyTorch's counterparts of the networks' layers, and the parameters they have met.
#[derive(Default)]
pub(super) struct Layers {
    parameters: Vec<(ParamId, tch::Tensor)>,
}

impl Layers {
    pub(super) fn convolution(&mut self, layer: &Convolution, input: &tch::Tensor) -> tch::Tensor {
        let kind = match layer.precision {
            Precision::Single => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        };
        let weight = channels_last(&self.parameter(&layer.weight).to_kind(kind));
        let bias = layer.bias.as_ref().map(|bias| self.parameter(bias).to_kind(kind));
        let [stride, padding] = [layer.stride, layer.padding].map(|size| [size as i64; 2]);
        input.to_kind(kind).conv2d(&weight, bias, stride, padding, [1, 1], 1)
    }

    /// Batch normalisation and ReLU.
    pub(super) fn activation(&mut self, norm: &BatchNorm, input: &tch::Tensor) -> tch::Tensor {
        let [scale, bias] = [&norm.gamma, &norm.beta].map(|parameter| self.parameter(parameter));
        let running = [&norm.running_mean, &norm.running_var];
        let [mean, variance] =
            running.map(|state| torch(state.value_sync()).expect("libtorch holds all statistics").copy());
        let output = input.batch_norm(
            Some(&scale),
            Some(&bias),
            Some(&mean),
            Some(&variance),
            true,
            norm.momentum,
            norm.epsilon,
            false,
        );
        for (state, new) in running.into_iter().zip([mean, variance]) {
            // A copy, since PyTorch keeps its own for the backward pass and Burn averages in place.
            state.update(burn_tensor::<1>(&new.copy()).autodiff());
        }
        output.relu()
    }

    pub(super) fn dropout(&self, layer: &Dropout, input: tch::Tensor) -> tch::Tensor {
        if layer.prob > 0.0 { input.dropout(layer.prob, true) } else { input }
    }

    /// In single precision.
    pub(super) fn linear(&mut self, layer: &Linear, input: &tch::Tensor) -> tch::Tensor {
        let output = input.to_kind(Kind::Float).matmul(&self.parameter(&layer.weight));
        match &layer.bias {
            Some(bias) => output + self.parameter(bias),
            None => output,
        }
    }

    /// PyTorch's leaf of a parameter, one for all passes.
    fn parameter<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) -> tch::Tensor {
        if let Some((_, leaf)) = self.parameters.iter().find(|(id, _)| *id == parameter.id) {
            return leaf.shallow_clone();
        }
        let value = torch(parameter.val()).expect("libtorch holds all weights");
        let leaf = value.detach().set_requires_grad(parameter.is_require_grad());
        self.parameters.push((parameter.id, leaf.shallow_clone()));
        leaf
    }
}

/// The tensor as libtorch holds it, cut off from Burn's graph.
fn torch<const D: usize>(tensor: Tensor<D>) -> Option<tch::Tensor> {
    let tensor = if tensor.is_autodiff() { tensor.inner() } else { tensor };
    match tensor.into_dispatch().kind {
        DispatchTensorKind::LibTorch(tensor) => Some(tensor.float().tensor),
        #[allow(unreachable_patterns, reason = "other backends are features")]
        _ => None,
    }
}

fn burn_tensor<const D: usize>(tensor: &tch::Tensor) -> Tensor<D> {
    let tensor = BackendTensor::Float(TchTensor::new(tensor.detach().contiguous()));
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::LibTorch(tensor),
        autodiff: DispatchAutodiffContext::Disabled,
    })
}

/// The same `[n, c, h, w]` values with all channels of a pixel side by side.
fn channels_last(tensor: &tch::Tensor) -> tch::Tensor {
    tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}
