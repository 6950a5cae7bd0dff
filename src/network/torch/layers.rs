//! PyTorch's counterparts of the layers that the networks are made of.

use burn::{
    module::{Param, ParamId},
    nn::{BatchNorm, Dropout, Linear},
    tensor::Tensor,
};
use tch::Kind;

use super::tensor::{burn_tensor, channels_last, torch};
use crate::network::layers::{Convolution, Precision};

/// PyTorch's counterparts of the networks' layers, and the parameters they have met.
#[derive(Default)]
pub struct Layers {
    pub(super) parameters: Vec<(ParamId, tch::Tensor)>,
    /// How many images of a batch, the first ones, its statistics are of.
    pub(super) counted: i64,
}

impl Layers {
    pub fn convolution(&mut self, layer: &Convolution, input: &tch::Tensor) -> tch::Tensor {
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
    pub fn activation(&mut self, norm: &BatchNorm, input: &tch::Tensor) -> tch::Tensor {
        let [scale, bias] = [&norm.gamma, &norm.beta].map(|parameter| self.parameter(parameter));
        let running = [&norm.running_mean, &norm.running_var];
        let [mean, variance] =
            running.map(|state| torch(state.value_sync()).expect("libtorch holds all statistics").copy());
        let others = input.size()[0] - self.counted;
        let first = input.narrow(0, 0, self.counted);
        let mut output = first.batch_norm(
            Some(&scale),
            Some(&bias),
            Some(&mean),
            Some(&variance),
            true,
            norm.momentum,
            norm.epsilon,
            false,
        );
        if others > 0 {
            let (variance, mean) = first.to_kind(Kind::Float).var_mean_dim([0, 2, 3].as_slice(), false, false);
            let scale = &scale * (variance + norm.epsilon).rsqrt();
            let shift = &bias - mean * &scale;
            let [scale, shift] = [scale, shift].map(|of| of.reshape([1, -1, 1, 1]));
            let others = input.narrow(0, self.counted, others).to_kind(Kind::Float) * scale + shift;
            output = tch::Tensor::cat(&[output, others.to_kind(input.kind())], 0);
        }
        for (state, new) in running.into_iter().zip([mean, variance]) {
            // A copy, since PyTorch keeps its own for the backward pass and Burn averages in place.
            state.update(burn_tensor::<1>(&new.copy()).autodiff());
        }
        output.relu()
    }

    pub fn dropout(&self, layer: &Dropout, input: tch::Tensor) -> tch::Tensor {
        if layer.prob > 0.0 { input.dropout(layer.prob, true) } else { input }
    }

    /// In single precision.
    pub fn linear(&mut self, layer: &Linear, input: &tch::Tensor) -> tch::Tensor {
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
