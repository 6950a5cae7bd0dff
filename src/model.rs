//! The classifiers: settings in, a network of that shape out.
//!
//! [`Network`] names a member of one of three families and [`Classifier`] is the network itself: images
//! `[n, 3, 32, 32]`, normalised, in; logits `[n, classes]` out. A classifier trains on an autodiff device; for
//! scoring it is made with [`Module::valid`], since batch normalisation would otherwise learn from the images it
//! scores.

use std::{collections::VecDeque, fmt, str::FromStr};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Initializer, Linear, LinearConfig},
    tensor::{
        DType, Device, Tensor, TensorData,
        module::{batch_norm_train, conv2d},
        ops::ConvOptions,
    },
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub mod compact;
pub mod densenet;
#[cfg(feature = "libtorch")]
mod torch;
pub mod wide_resnet;

pub use compact::Compact;
pub use densenet::DenseNet;
pub use wide_resnet::WideResNet;

/// Collects the values of all parameters, in the order in which they are visited.
struct Parameters(VecDeque<TensorData>);

impl ModuleVisitor for Parameters {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.0.push_back(parameter.val().into_data());
    }
}

/// Moves each parameter to the next of the collected ones.
struct MoveTowards {
    parameters: VecDeque<TensorData>,
    share: f32,
}

impl ModuleMapper for MoveTowards {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let end = self.parameters.pop_front().expect("networks of one shape have the same parameters");
        let (id, start, mapper) = parameter.consume();
        let device = start.device();
        let values: Vec<f32> =
            start.to_data().iter::<f32>().zip(end.iter::<f32>()).map(|(a, b)| a + self.share * (b - a)).collect();
        let value = Tensor::from_data(TensorData::new(values, start.shape()), &device)
            .set_require_grad(start.is_require_grad());
        Param::from_mapped_value(id, value, mapper)
    }
}

/// Largest depth, width or growth rate of a network.
const LARGEST: usize = 1000;

/// Which network: a family and its size.
///
/// Written and read as the field writes them: `compact-64-128-176`, `densenet-bc-100-12`, `wrn-28-10`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Network {
    /// Three blocks of two 3 x 3 convolutions after a whitening stem; see [`compact`].
    Compact {
        /// Channels of the three blocks.
        widths: [usize; 3],
    },
    /// DenseNet-BC (Huang et al. 2017).
    DenseNetBc {
        /// Depth, 6 n + 4.
        depth: usize,
        /// Growth rate.
        growth: usize,
    },
    /// Wide residual network (Zagoruyko & Komodakis 2016).
    WideResNet {
        /// Depth, 6 n + 4.
        depth: usize,
        /// Widen factor.
        widen: usize,
    },
}

impl Network {
    /// The compact network of the default width.
    pub const COMPACT: Network = Network::Compact { widths: [64, 128, 176] };

    /// Makes a freshly initialised classifier with `classes` logits.
    ///
    /// The values come from `rng` alone, so that every device starts from the same weights.
    pub fn init(&self, classes: usize, mode: TrainingMode, rng: &mut ChaCha8Rng, device: &Device) -> Classifier {
        let init = &mut Init { mode, rng, device };
        match *self {
            Network::Compact { widths } => Classifier::Compact(Compact::new(widths, classes, init)),
            Network::DenseNetBc { depth, growth } => Classifier::DenseNet(DenseNet::new(depth, growth, classes, init)),
            Network::WideResNet { depth, widen } => {
                Classifier::WideResNet(WideResNet::new(depth, widen, classes, init))
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Compact { widths: [a, b, c] } => write!(f, "compact-{a}-{b}-{c}"),
            Network::DenseNetBc { depth, growth } => write!(f, "densenet-bc-{depth}-{growth}"),
            Network::WideResNet { depth, widen } => write!(f, "wrn-{depth}-{widen}"),
        }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || Error::UnknownNetwork { name: name.to_owned() };
        let numbers = |rest: &str| -> Option<Vec<usize>> {
            rest.split('-').map(|part| part.parse().ok().filter(|n| (1..=LARGEST).contains(n))).collect()
        };
        let deep = |depth: usize| depth >= 10 && depth % 6 == 4;
        if name == "compact" {
            return Ok(Network::COMPACT);
        }
        let (family, sizes) = ["compact-", "densenet-bc-", "wrn-"]
            .into_iter()
            .find_map(|family| Some((family, numbers(name.strip_prefix(family)?)?)))
            .ok_or_else(unknown)?;
        match (family, sizes.as_slice()) {
            ("compact-", &[a, b, c]) => Ok(Network::Compact { widths: [a, b, c] }),
            ("densenet-bc-", &[depth, growth]) if deep(depth) => Ok(Network::DenseNetBc { depth, growth }),
            ("wrn-", &[depth, widen]) if deep(depth) => Ok(Network::WideResNet { depth, widen }),
            _ => Err(unknown()),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

impl TryFrom<String> for Network {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

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

/// A classifier of one of the three families.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a handful exist at a time, and boxing a module hides it from Burn's derive"
)]
pub enum Classifier {
    /// See [`compact`].
    Compact(Compact),
    /// See [`densenet`].
    DenseNet(DenseNet),
    /// See [`wide_resnet`].
    WideResNet(WideResNet),
}

impl Classifier {
    /// Logits `[n, classes]` of `images` `[n, 3, 32, 32]`, normalised.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Classifier::Compact(net) => net.forward(images),
            Classifier::DenseNet(net) => net.forward(images),
            Classifier::WideResNet(net) => net.forward(images),
        }
    }

    /// A training step through PyTorch's own layers, where libtorch holds the weights.
    #[cfg(feature = "libtorch")]
    pub(crate) fn torch(&self) -> Option<torch::Graph<'_>> {
        torch::Graph::new(self)
    }

    /// Every batch normalisation of the network, in forward order.
    pub fn batch_norms_mut(&mut self) -> Vec<&mut BatchNorm> {
        match self {
            Classifier::Compact(net) => net.batch_norms_mut(),
            Classifier::DenseNet(net) => net.batch_norms_mut(),
            Classifier::WideResNet(net) => net.batch_norms_mut(),
        }
    }

    /// The network whose logits are `factor` times this one's, less their mean over the classes, which no softmax sees.
    pub(crate) fn with_logits_scaled(mut self, factor: f64) -> Self {
        let fc = match &mut self {
            Classifier::Compact(net) => &mut net.fc,
            Classifier::DenseNet(net) => &mut net.fc,
            Classifier::WideResNet(net) => &mut net.fc,
        };
        fc.weight = fc.weight.clone().map(|weight| (weight.clone() - weight.mean_dim(1)) * factor);
        fc.bias = fc.bias.take().map(|bias| bias.map(|bias| (bias.clone() - bias.mean()) * factor));
        self
    }

    /// The network whose parameters are `share` of the way from this one's to those of `other`, a network of the same shape.
    pub(crate) fn moved_towards(self, other: &Classifier, share: f64) -> Self {
        let mut parameters = Parameters(VecDeque::new());
        other.visit(&mut parameters);
        self.map(&mut MoveTowards { parameters: parameters.0, share: share as f32 })
    }

    /// Adapts the fixed first layer, where the family has one, to the training images.
    ///
    /// `images` is `[n, 3, 32, 32]`, normalised, planar, in one slice.
    pub fn fit_stem(self, images: &[f32]) -> Self {
        match self {
            Classifier::Compact(net) => Classifier::Compact(net.whiten(images)),
            other => other,
        }
    }
}

/// A square convolution over zero-padded input, optionally in half precision while it trains.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[out, in, size, size]`.
    weight: Param<Tensor<4>>,
    /// `[out]`.
    bias: Option<Param<Tensor<1>>>,
    stride: usize,
    padding: usize,
    #[module(skip)]
    precision: Precision,
}

impl Convolution {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1);
        let weight = self.weight.val();
        let bias = self.bias.as_ref().map(Param::val);
        // A network made ready for scoring has plain weights, also where the gradient of its input is asked for.
        if self.precision == Precision::Bf16 && weight.is_autodiff() {
            let bias = bias.map(|bias| bias.cast(DType::BF16));
            conv2d(input.cast(DType::BF16), weight.cast(DType::BF16), bias, options).cast(DType::F32)
        } else {
            conv2d(input, weight, bias, options)
        }
    }
}

/// Batch normalisation of `input` `[n, c, h, w]`; while training, the running variance takes the batch's unbiased
/// variance, as PyTorch does and Burn's own layer does not.
fn batch_norm(norm: &BatchNorm, input: Tensor<4>) -> Tensor<4> {
    if !(input.device().is_autodiff() && norm.training.is_enabled()) {
        return norm.forward(input);
    }
    let [n, _, height, width] = input.dims();
    let samples = (n * height * width) as f64;
    let batch = batch_norm_train(input, norm.gamma.val(), norm.beta.val(), norm.epsilon);
    let unbiased = batch.variance * (samples / (samples - 1.0).max(1.0));
    for (running, new) in [(&norm.running_mean, batch.mean), (&norm.running_var, unbiased)] {
        let kept = running.value_sync() * (1.0 - norm.momentum);
        running.update((kept + new.detach() * norm.momentum).detach());
    }
    batch.output
}

/// Makes layers whose values come from one seeded generator.
pub(crate) struct Init<'a> {
    mode: TrainingMode,
    rng: &'a mut ChaCha8Rng,
    device: &'a Device,
}

impl Init<'_> {
    /// A `size` x `size` convolution without bias, N(0, 2 / (size^2 out)) (He et al. 2015).
    fn conv(&mut self, channels: [usize; 2], size: usize, stride: usize) -> Convolution {
        let std = (2.0 / (size * size * channels[1]) as f64).sqrt();
        let normal = Normal::new(0.0, std).expect("a positive standard deviation");
        self.conv_from(channels, size, stride, normal)
    }

    /// The same with values of another distribution; padded so that odd sizes keep the side.
    fn conv_from(
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
    fn conv_of(&self, channels: [usize; 2], size: usize, stride: usize, weights: Vec<f32>) -> Convolution {
        let weights = TensorData::new(weights, [channels[1], channels[0], size, size]);
        Convolution {
            weight: Param::from_data(weights, self.device),
            bias: None,
            stride,
            padding: (size - 1) / 2,
            precision: self.mode.precision,
        }
    }

    /// A linear layer with weights uniform in +-1/sqrt(in), PyTorch's default, and zero bias.
    fn linear(&mut self, inputs: usize, outputs: usize, bias: bool) -> Linear {
        let bound = 1.0 / (inputs as f64).sqrt();
        let config = LinearConfig::new(inputs, outputs).with_bias(bias).with_initializer(Initializer::Zeros);
        let mut linear = config.init(self.device);
        let weights = self.values(inputs * outputs, Uniform::new(-bound, bound).expect("finite bounds"));
        linear.weight = Param::from_data(TensorData::new(weights, [inputs, outputs]), self.device);
        linear
    }

    fn dropout(&self) -> Dropout {
        DropoutConfig::new(self.mode.dropout).init()
    }

    fn batch_norm(&self, channels: usize) -> BatchNorm {
        BatchNormConfig::new(channels).init(self.device)
    }

    fn values(&mut self, count: usize, distribution: impl Distribution<f64>) -> Vec<f32> {
        (&mut *self.rng).sample_iter(distribution).take(count).map(|value| value as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};
    use rand::SeedableRng;

    use super::*;

    fn classifier(name: &str, classes: usize) -> Classifier {
        let network: Network = name.parse().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        network.init(classes, TrainingMode::default(), &mut rng, &Device::flex())
    }

    /// Made by tests/golden/networks.py, which defines the networks in PyTorch.
    #[test]
    fn parameter_counts_are_those_of_pytorch() {
        #[derive(Deserialize)]
        struct Counts {
            network: String,
            classes: usize,
            trainable: usize,
            frozen: usize,
            batch_norms: usize,
        }
        let golden: Vec<Counts> = serde_json::from_str(include_str!("../tests/golden/networks.json")).unwrap();
        for Counts { network, classes, trainable, frozen, batch_norms } in golden {
            // Burn counts the running mean and variance too, one of each for each scale and bias.
            let expected = trainable + frozen + batch_norms;
            assert_eq!(classifier(&network, classes).num_params(), expected, "{network} {classes}");
        }
    }

    #[test]
    fn logits_have_one_column_a_kept_class() {
        for name in ["compact-8-16-8", "densenet-bc-10-4", "wrn-10-1"] {
            let images = Tensor::zeros([3, 3, 32, 32], &Device::flex());
            let logits = classifier(name, 8).valid().forward(images);
            assert_eq!(logits.dims(), [3, 8], "{name}");
        }
    }

    #[test]
    fn scaled_logits_are_the_factor_times_the_centred_ones() {
        for name in ["compact-8-16-8", "densenet-bc-10-4", "wrn-10-1"] {
            let images = Tensor::random([2, 3, 32, 32], Distribution::Normal(0.0, 1.0), &Device::flex());
            let classifier = classifier(name, 5).valid();
            let logits = classifier.forward(images.clone());
            let expected = (logits.clone() - logits.mean_dim(1)) * 3.0;
            let found = classifier.with_logits_scaled(3.0).forward(images);
            found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::rel_abs(1e-4, 1e-5));
        }
    }

    #[test]
    fn a_network_is_read_as_it_is_written() {
        for name in ["compact-64-256-256", "densenet-bc-40-12", "wrn-16-2"] {
            assert_eq!(name.parse::<Network>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn unknown_networks_are_rejected() {
        for name in ["", "resnet-18", "wrn-27-10", "wrn-28", "compact-0-1-1", "compact-1001-1-1", "densenet-bc-x-12"] {
            assert!(matches!(name.parse::<Network>(), Err(Error::UnknownNetwork { .. })));
        }
    }
}
