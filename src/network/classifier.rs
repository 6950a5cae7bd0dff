//! [`Network`] names a member of one of the three families, [`Classifier`] is the network itself.

use std::{fmt, str::FromStr};

use burn::{
    module::Module,
    nn::BatchNorm,
    tensor::{Device, Tensor},
};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    average,
    compact::Compact,
    densenet::DenseNet,
    layers::{Init, TrainingMode},
    wide_resnet::WideResNet,
};
use crate::error::{Error, Result};

/// Largest depth, width or growth rate of a network.
const LARGEST: usize = 1000;

/// Which network: a family and its size.
///
/// Written and read as the field writes them: `compact-64-128-176`, `densenet-bc-100-12`, `wrn-28-10`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Network {
    /// Three blocks of two 3 x 3 convolutions after a whitening stem; see [`compact`](super::compact).
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

/// A classifier of one of the three families.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a handful exist at a time, and boxing a module hides it from Burn's derive"
)]
pub enum Classifier {
    /// See [`compact`](super::compact).
    Compact(Compact),
    /// See [`densenet`](super::densenet).
    DenseNet(DenseNet),
    /// See [`wide_resnet`](super::wide_resnet).
    WideResNet(WideResNet),
}

impl Classifier {
    /// Logits `[n, classes]` of `images` `[n, 3, 32, 32]`, normalised.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let [n, ..] = images.dims();
        self.forward_counting(images, n)
    }

    /// The same; while the network trains, the batch statistics by which all images are normalised are those of the first `counted`.
    pub fn forward_counting(&self, images: Tensor<4>, counted: usize) -> Tensor<2> {
        match self {
            Classifier::Compact(net) => net.forward(images, counted),
            Classifier::DenseNet(net) => net.forward(images, counted),
            Classifier::WideResNet(net) => net.forward(images, counted),
        }
    }

    /// The same network for scoring alone: each convolution takes what follows it into its own work, with the weights in the order
    /// in which the device's kernels read them, and where they are so the others are dropped.
    ///
    /// It is one made with [`Module::valid`], on any device; the result is on `device`. What can be done beforehand is done where
    /// the network is, which for a GPU had best be the CPU: there it takes a moment, here a kernel for each operation.
    pub fn ready(self, device: &Device) -> Self {
        let ready = match self {
            Classifier::Compact(net) => Classifier::Compact(net.ready(device)),
            Classifier::DenseNet(net) => Classifier::DenseNet(net.ready(device)),
            Classifier::WideResNet(net) => Classifier::WideResNet(net.ready(device)),
        };
        ready.to_device(device)
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
        average::between(self, other, share)
    }

    /// Adapts the fixed first layer, where the family has one, to the training images.
    ///
    /// `images` makes them: `[n, 3, 32, 32]`, normalised, planar, one after the other.
    pub fn fit_stem(self, images: impl FnOnce() -> Vec<f32>) -> Self {
        match self {
            Classifier::Compact(net) => Classifier::Compact(net.whiten(&images())),
            other => other,
        }
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
        let golden: Vec<Counts> = serde_json::from_str(include_str!("../../tests/golden/networks.json")).unwrap();
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
