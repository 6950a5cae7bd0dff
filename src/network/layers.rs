//! The layers that the three families are made of, and the generator that gives them their first values.

use burn::{
    module::{Module, Param, RunningState},
    nn::{BatchNorm, Dropout, DropoutConfig, Linear},
    tensor::{DType, Device, Tensor, TensorData, activation::relu},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};
use serde::{Deserialize, Serialize};

use super::kernels::{
    self, TRAINS,
    convolution::{Geometry, convolution},
    head,
    layer::Layer,
    normal::{Moments, normal},
    pool::{max_pool, mean_pool},
};

/// What a network does while it trains and never when it scores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingMode {
    /// Dropout probability inside the blocks.
    pub dropout: f64,
    /// Number format of the convolutions.
    pub precision: Precision,
}

/// Number format of the convolutions while training; weights, statistics and loss are always single precision. Where
/// PyTorch trains the network, the activations between its convolutions have this format, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision.
    #[default]
    Single,
    /// bfloat16, about twice as fast where the device has instructions for it.
    Bf16,
}

/// A square convolution over zero-padded input, optionally in half precision while it trains.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[out, in, size, size]`.
    pub(super) weight: Param<Tensor<4>>,
    /// `[out]`.
    pub(super) bias: Option<Param<Tensor<1>>>,
    pub(super) stride: usize,
    pub(super) padding: usize,
    #[module(skip)]
    pub(super) precision: Precision,
    /// What does its work, and that of the layers after it, once the network is ready for scoring.
    #[module(skip)]
    pub(super) ready: Option<Layer>,
}

impl Convolution {
    /// `[n, height, width, out]` of `input` `[n, height, width, in]`.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.apply(input, false)
    }

    /// The same with max pooling of 2 x 2 pixels if `pooled`, then [`activation`].
    pub(super) fn normal(&self, norm: &BatchNorm, pooled: bool, input: Tensor<4>, counted: usize) -> Tensor<4> {
        let output = self.apply(input, pooled);
        if self.ready.is_some() || !TRAINS {
            return output;
        }
        activation(norm, if pooled { max_pool(output) } else { output }, counted)
    }

    /// The same with ReLU alone.
    pub(super) fn relu(&self, input: Tensor<4>) -> Tensor<4> {
        let output = self.apply(input, false);
        if self.ready.is_some() || !TRAINS { output } else { relu(output) }
    }

    fn apply(&self, input: Tensor<4>, pooled: bool) -> Tensor<4> {
        if let Some(layer) = &self.ready {
            return layer.forward(input);
        }
        if !TRAINS {
            unreachable!("networks that only score were made ready for it");
        }
        let (weight, geometry) = (self.weight.val(), self.geometry(pooled));
        // A network that does not train has plain weights, also where the gradient of its input is asked for.
        let output = if self.precision == Precision::Bf16 && weight.is_autodiff() {
            let [input, weight] = [input, weight].map(|tensor| tensor.cast(DType::BF16));
            convolution(input, weight, geometry).cast(DType::F32)
        } else {
            convolution(input, weight, geometry)
        };
        match &self.bias {
            Some(bias) => output + bias.val().reshape([1, 1, 1, -1]),
            None => output,
        }
    }

    /// For scoring on `device` alone: [`forward`](Self::forward), with pooling, batch normalisation and ReLU where they follow.
    pub(super) fn ready(self, norm: Option<&BatchNorm>, pooled: bool, relu: bool, device: &Device) -> Self {
        let weight = self.weight.val();
        let (from, [outputs, ..]) = (weight.device(), weight.dims());
        let (scale, shift) = match norm {
            Some(norm) => scale_and_shift(norm),
            None => (
                Tensor::<1>::ones([outputs], &from).cast(weight.dtype()),
                Tensor::<1>::zeros([outputs], &from).cast(weight.dtype()),
            ),
        };
        let shift = match &self.bias {
            Some(bias) => shift + bias.val() * scale.clone(),
            None => shift,
        };
        let [scale, shift] = [scale, shift].map(|tensor| tensor.to_device(device));
        let layer = Layer::new(weight.to_device(device), scale, shift, self.geometry(pooled), relu);
        // The layer has the weights; as packed ones they need not be kept twice.
        Convolution { weight: Param::from_tensor(layer.weight.clone()), ready: Some(layer), ..self }
    }

    fn geometry(&self, pooled: bool) -> Geometry {
        Geometry { stride: self.stride, padding: self.padding, pooled }
    }
}

/// What batch normalisation does to each channel of what it does not learn from.
pub(super) fn scale_and_shift(norm: &BatchNorm) -> (Tensor<1>, Tensor<1>) {
    let [mean, variance] = [&norm.running_mean, &norm.running_var].map(|state| state.value());
    let scale = norm.gamma.val() / (variance + norm.epsilon).sqrt();
    let shift = norm.beta.val() - mean * scale.clone();
    (scale, shift)
}

/// Batch normalisation of `input` `[n, h, w, c]` and ReLU. While training, the batch's mean and variance are those of the first
/// `counted` images; the running variance takes the unbiased one, as PyTorch does and Burn's own layer does not.
pub(super) fn activation(norm: &BatchNorm, input: Tensor<4>, counted: usize) -> Tensor<4> {
    if !(TRAINS && input.device().is_autodiff() && norm.training.is_enabled()) {
        let (scale, shift) = scale_and_shift(norm);
        return kernels::activation::activation(input, scale, shift);
    }
    let [_, height, width, _] = input.dims();
    let (output, moments) =
        normal(input, norm.gamma.val(), norm.beta.val(), Moments { images: counted, epsilon: norm.epsilon });
    take_moments(norm, moments, counted * height * width);
    output
}

/// Lets a normalisation's running statistics take the mean and the variance `[channels]` of so many samples.
pub(super) fn take_moments(norm: &BatchNorm, [mean, variance]: [Tensor<1>; 2], samples: usize) {
    let samples = samples as f64;
    let unbiased = samples / (samples - 1.0).max(1.0);
    if head::has_kernels(&mean) {
        let running = [&norm.running_mean, &norm.running_var].map(|running| running.value_sync().inner());
        let [mean, variance] = head::mixed(running, [mean.inner(), variance.inner()], norm.momentum, unbiased);
        norm.running_mean.update(mean.autodiff());
        norm.running_var.update(variance.autodiff());
        return;
    }
    for (running, new) in [(&norm.running_mean, mean), (&norm.running_var, variance * unbiased)] {
        let kept = running.value_sync() * (1.0 - norm.momentum);
        running.update((kept + new.detach() * norm.momentum).detach());
    }
}

/// Mean over rows and columns, `[n, c]`, of `input` `[n, side, side, c]`, whose side is a power of two.
pub(super) fn global_mean(mut input: Tensor<4>) -> Tensor<2> {
    while input.dims()[1] > 1 {
        input = mean_pool(input);
    }
    input.flatten(1, 3)
}

/// Some of `input` left out while a network trains, `input` otherwise.
pub(super) fn dropped<const D: usize>(dropout: &Dropout, input: Tensor<D>) -> Tensor<D> {
    if TRAINS { dropout.forward(input) } else { input }
}

/// A linear layer's output `[n, outputs]` for `input` `[n, inputs]`.
pub(super) fn linear(layer: &Linear, input: Tensor<2>) -> Tensor<2> {
    let output = kernels::linear::linear(input, layer.weight.val());
    match &layer.bias {
        Some(bias) => output + bias.val().unsqueeze::<2>(),
        None => output,
    }
}

/// Makes layers whose values come from one seeded generator.
pub(crate) struct Init<'a> {
    pub(super) mode: TrainingMode,
    pub(super) rng: &'a mut ChaCha8Rng,
    pub(super) device: &'a Device,
}

impl Init<'_> {
    /// A `size` x `size` convolution without bias, N(0, 2 / (size^2 out)) (He et al. 2015).
    pub(super) fn conv(&mut self, channels: [usize; 2], size: usize, stride: usize) -> Convolution {
        let std = (2.0 / (size * size * channels[1]) as f64).sqrt();
        let normal = Normal::new(0.0, std).expect("a positive standard deviation");
        self.conv_from(channels, size, stride, normal)
    }

    /// The same with values of another distribution; padded so that odd sizes keep the side.
    pub(super) fn conv_from(
        &mut self,
        channels: [usize; 2],
        size: usize,
        stride: usize,
        distribution: impl Distribution<f64>,
    ) -> Convolution {
        let weights = self.values(channels[0] * channels[1] * size * size, distribution);
        self.conv_of(channels, size, stride, weights)
    }

    /// The same with the given values, `[out, in, size, size]`.
    pub(super) fn conv_of(&self, channels: [usize; 2], size: usize, stride: usize, weights: Vec<f32>) -> Convolution {
        let weights = TensorData::new(weights, [channels[1], channels[0], size, size]);
        Convolution {
            weight: Param::from_data(weights, self.device),
            bias: None,
            stride,
            padding: (size - 1) / 2,
            precision: self.mode.precision,
            ready: None,
        }
    }

    /// A linear layer with weights uniform in +-1/sqrt(in), PyTorch's default, and zero bias.
    pub(super) fn linear(&mut self, inputs: usize, outputs: usize, bias: bool) -> Linear {
        let bound = 1.0 / (inputs as f64).sqrt();
        let weights = self.values(inputs * outputs, Uniform::new(-bound, bound).expect("finite bounds"));
        Linear {
            weight: Param::from_data(TensorData::new(weights, [inputs, outputs]), self.device),
            bias: bias.then(|| Param::from_data(TensorData::zeros::<f32, _>([outputs]), self.device)),
        }
    }

    pub(super) fn dropout(&self) -> Dropout {
        DropoutConfig::new(self.mode.dropout).init()
    }

    /// PyTorch's defaults. Made here, since Burn's own initialisers bring its matrix products into the program, as [`kernels::linear`]
    /// does not.
    pub(super) fn batch_norm(&self, channels: usize) -> BatchNorm {
        let of = |values: TensorData| Param::from_data(values, self.device);
        BatchNorm {
            gamma: of(TensorData::ones::<f32, _>([channels])),
            beta: of(TensorData::zeros::<f32, _>([channels])),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros([channels], self.device)),
            running_var: RunningState::new(Tensor::ones([channels], self.device)),
            momentum: 0.1,
            epsilon: 1e-5,
        }
    }

    pub(super) fn values(&mut self, count: usize, distribution: impl Distribution<f64>) -> Vec<f32> {
        (&mut *self.rng).sample_iter(distribution).take(count).map(|value| value as f32).collect()
    }
}
