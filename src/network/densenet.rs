//! DenseNet-BC for 32 x 32 images (Huang et al., "Densely Connected Convolutional Networks", CVPR 2017).
//!
//! A 3 x 3 convolution, three dense blocks with two transitions that halve channels and sides between them, batch
//! normalisation, global average, linear layer. Field names follow the widely used PyTorch port, so that its
//! checkpoints map onto ours.

use burn::{
    module::Module,
    nn::{BatchNorm, Dropout, DropoutConfig, Linear},
    tensor::{Device, Tensor},
};

use super::{
    kernels::{
        TRAINS,
        dense::{self, Block, Training, trains},
        layer::Layer,
        pool::mean_pool,
    },
    layers::{Convolution, Init, Precision, activation, dropped, global_mean, linear, scale_and_shift, take_moments},
};

/// DenseNet-BC: bottlenecks of 4 x growth channels, reduction 0.5.
#[derive(Module, Debug)]
pub struct DenseNet {
    conv1: Convolution,
    block1: Vec<Bottleneck>,
    trans1: Transition,
    block2: Vec<Bottleneck>,
    trans2: Transition,
    block3: Vec<Bottleneck>,
    bn1: BatchNorm,
    pub(super) fc: Linear,
    /// What does the blocks' work once the network is ready for scoring, where the device has such.
    #[module(skip)]
    ready: [Option<Block>; 3],
}

/// BN - ReLU - conv 1 x 1 - BN - ReLU - conv 3 x 3, appended to its input.
#[derive(Module, Debug)]
struct Bottleneck {
    bn1: BatchNorm,
    conv1: Convolution,
    bn2: BatchNorm,
    conv2: Convolution,
    dropout: Dropout,
}

/// BN - ReLU - conv 1 x 1 - average pool 2.
#[derive(Module, Debug)]
struct Transition {
    bn1: BatchNorm,
    conv1: Convolution,
    dropout: Dropout,
}

impl DenseNet {
    pub(crate) fn new(depth: usize, growth: usize, classes: usize, init: &mut Init) -> Self {
        let mut channels = 2 * growth;
        let conv1 = init.conv([3, channels], 3, 1);
        let block = |channels: &mut usize, init: &mut Init| -> Vec<Bottleneck> {
            (0..layers(depth))
                .map(|_| {
                    let layer = Bottleneck::new(*channels, growth, init);
                    *channels += growth;
                    layer
                })
                .collect()
        };
        let block1 = block(&mut channels, init);
        let trans1 = Transition::new(&mut channels, init);
        let block2 = block(&mut channels, init);
        let trans2 = Transition::new(&mut channels, init);
        let block3 = block(&mut channels, init);
        DenseNet {
            conv1,
            block1,
            trans1,
            block2,
            trans2,
            block3,
            bn1: init.batch_norm(channels),
            fc: init.linear(channels, classes, true),
            ready: [const { None }; 3],
        }
    }

    /// See [`super::Classifier::forward_counting`].
    pub fn forward(&self, images: Tensor<4>, counted: usize) -> Tensor<2> {
        let [ready1, ready2, ready3] = &self.ready;
        let x = self.conv1.forward(images.permute([0, 2, 3, 1])); // [n, 32, 32, 2 growth]
        let x = self.trans1.forward(dense(x, &self.block1, ready1, counted), counted); // [n, 16, 16, _]
        let x = self.trans2.forward(dense(x, &self.block2, ready2, counted), counted); // [n, 8, 8, _]
        let x = activation(&self.bn1, dense(x, &self.block3, ready3, counted), counted); // [n, 8, 8, c]
        linear(&self.fc, global_mean(x))
    }

    /// [`DenseNet::forward`] in PyTorch's layers, while training.
    #[cfg(feature = "libtorch")]
    pub(super) fn torch(&self, images: &tch::Tensor, layers: &mut super::torch::layers::Layers) -> tch::Tensor {
        let mut x = layers.convolution(&self.conv1, images);
        for (block, transition) in [(&self.block1, &self.trans1), (&self.block2, &self.trans2)] {
            x = block.iter().fold(x, |x, layer| layer.torch(x, layers));
            x = transition.torch(&x, layers);
        }
        x = self.block3.iter().fold(x, |x, layer| layer.torch(x, layers));
        let features = layers.activation(&self.bn1, &x).mean_dim([2_i64, 3].as_slice(), false, tch::Kind::Float);
        layers.linear(&self.fc, &features)
    }

    /// See [`super::Classifier::ready`].
    pub(super) fn ready(self, device: &Device) -> Self {
        let DenseNet { conv1, block1, trans1, block2, trans2, block3, bn1, fc, .. } = self;
        let [block1, block2, block3] = [block1, block2, block3]
            .map(|block| block.into_iter().map(|layer| layer.ready(device)).collect::<Vec<_>>());
        let [trans1, trans2] = [trans1, trans2].map(|transition| transition.ready(device));
        let conv1 = conv1.ready(None, false, false, device);
        let ready = [&block1, &block2, &block3].map(|block| Block::new(block.iter().map(Bottleneck::parts)));
        DenseNet { conv1, block1, trans1, block2, trans2, block3, bn1, fc, ready }
    }

    pub(crate) fn batch_norms_mut(&mut self) -> Vec<&mut BatchNorm> {
        fn dense(block: &mut [Bottleneck]) -> impl Iterator<Item = &mut BatchNorm> {
            block.iter_mut().flat_map(|layer| [&mut layer.bn1, &mut layer.bn2])
        }
        dense(&mut self.block1)
            .chain([&mut self.trans1.bn1])
            .chain(dense(&mut self.block2))
            .chain([&mut self.trans2.bn1])
            .chain(dense(&mut self.block3))
            .chain([&mut self.bn1])
            .collect()
    }
}

/// A block's output `[n, h, w, c + layers growth]` of `x` `[n, h, w, c]`.
fn dense(x: Tensor<4>, block: &[Bottleneck], ready: &Option<Block>, counted: usize) -> Tensor<4> {
    match ready {
        Some(ready) => ready.forward(x),
        None if TRAINS
            && block.iter().all(|layer| layer.trains_in_block())
            && x.device().is_autodiff()
            && trains(&x) =>
        {
            train_block(x, block, counted)
        }
        None => block.iter().fold(x, |x, layer| layer.forward(x, counted)),
    }
}

/// The same as one operation, for blocks that train.
fn train_block(x: Tensor<4>, block: &[Bottleneck], counted: usize) -> Tensor<4> {
    let ([_, height, width, channels], first) = (x.dims(), &block[0]);
    let [growth, narrow, ..] = first.conv2.weight.dims();
    let norms = || block.iter().flat_map(|layer| [&layer.bn1, &layer.bn2]);
    let of_norms = norms().flat_map(|norm| [norm.gamma.val(), norm.beta.val()]).collect();
    let filters = block.iter().flat_map(|layer| [&layer.conv1, &layer.conv2]);
    let filters = filters.map(|convolution| convolution.weight.val().flatten(0, 3)).collect();
    let training = Training { layers: block.len(), narrow, growth, epsilon: first.bn1.epsilon, counted };
    let (output, moments) = dense::train(x, Tensor::cat(of_norms, 0), Tensor::cat(filters, 0), training);
    let (samples, mut start) = (counted * height * width, 0);
    for (index, norm) in norms().enumerate() {
        let channels = if index % 2 == 0 { channels + index / 2 * growth } else { narrow };
        let both = [0, channels].map(|first| moments.clone().narrow(0, start + first, channels));
        take_moments(norm, both, samples);
        start += 2 * channels;
    }
    output
}

impl Bottleneck {
    /// Whether it trains as the layers of [`dense::train`] do.
    fn trains_in_block(&self) -> bool {
        let trains = |norm: &BatchNorm| norm.training.is_enabled();
        let single = |convolution: &Convolution| convolution.precision == Precision::Single;
        let dropout = self.dropout.prob > 0.0;
        trains(&self.bn1) && trains(&self.bn2) && single(&self.conv1) && single(&self.conv2) && !dropout
    }

    fn new(channels: usize, growth: usize, init: &mut Init) -> Self {
        Bottleneck {
            bn1: init.batch_norm(channels),
            conv1: init.conv([channels, 4 * growth], 1, 1),
            bn2: init.batch_norm(4 * growth),
            conv2: init.conv([4 * growth, growth], 3, 1),
            dropout: init.dropout(),
        }
    }

    fn forward(&self, input: Tensor<4>, counted: usize) -> Tensor<4> {
        let x = activation(&self.bn1, input.clone(), counted);
        let x = if self.dropout.prob == 0.0 {
            self.conv1.normal(&self.bn2, false, x, counted)
        } else {
            activation(&self.bn2, dropped(&self.dropout, self.conv1.forward(x)), counted)
        };
        let x = dropped(&self.dropout, self.conv2.forward(x));
        Tensor::cat(vec![input, x], 3)
    }

    fn ready(self, device: &Device) -> Self {
        let Bottleneck { bn1, conv1, bn2, conv2, .. } = self;
        let dropout = DropoutConfig::new(0.0).init();
        let (conv1, conv2) = (conv1.ready(Some(&bn2), false, true, device), conv2.ready(None, false, false, device));
        Bottleneck { bn1, conv1, bn2, conv2, dropout }
    }

    /// What a [`Block`] is made of.
    fn parts(&self) -> ([Tensor<1>; 2], Layer, Layer) {
        let [narrow, last] =
            [&self.conv1, &self.conv2].map(|convolution| convolution.ready.clone().expect("the network is ready"));
        (scale_and_shift(&self.bn1).into(), narrow, last)
    }

    #[cfg(feature = "libtorch")]
    fn torch(&self, input: tch::Tensor, layers: &mut super::torch::layers::Layers) -> tch::Tensor {
        let x = layers.activation(&self.bn1, &input);
        let x = layers.convolution(&self.conv1, &x);
        let x = layers.dropout(&self.dropout, x);
        let x = layers.activation(&self.bn2, &x);
        let x = layers.convolution(&self.conv2, &x);
        let x = layers.dropout(&self.dropout, x);
        tch::Tensor::cat(&[input, x], 1)
    }
}

impl Transition {
    fn new(channels: &mut usize, init: &mut Init) -> Self {
        let (from, to) = (*channels, *channels / 2);
        *channels = to;
        Transition { bn1: init.batch_norm(from), conv1: init.conv([from, to], 1, 1), dropout: init.dropout() }
    }

    fn forward(&self, input: Tensor<4>, counted: usize) -> Tensor<4> {
        let x = activation(&self.bn1, input, counted);
        if self.dropout.prob == 0.0 {
            // The mean of four products is the product of their mean: a quarter of the work.
            self.conv1.forward(mean_pool(x))
        } else {
            mean_pool(dropped(&self.dropout, self.conv1.forward(x)))
        }
    }

    fn ready(self, device: &Device) -> Self {
        let dropout = DropoutConfig::new(0.0).init();
        Transition { conv1: self.conv1.ready(None, false, false, device), dropout, ..self }
    }

    #[cfg(feature = "libtorch")]
    fn torch(&self, input: &tch::Tensor, layers: &mut super::torch::layers::Layers) -> tch::Tensor {
        let x = layers.activation(&self.bn1, input);
        let x = layers.convolution(&self.conv1, &x);
        layers.dropout(&self.dropout, x).avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
    }
}

/// Bottlenecks in a block: each has two convolutions, and four more layers stand outside the blocks.
fn layers(depth: usize) -> usize {
    (depth - 4) / 6
}

#[cfg(test)]
mod tests {
    use burn::{
        module::Param,
        tensor::{Distribution, TensorData, Tolerance},
    };
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::Normal;

    use super::*;

    /// Three layers after 7 channels, with scales of both signs.
    fn block(device: &Device) -> Vec<Bottleneck> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut init = Init { mode: Default::default(), rng: &mut rng, device };
        let mut block: Vec<Bottleneck> = (0..3).map(|layer| Bottleneck::new(7 + 5 * layer, 5, &mut init)).collect();
        for norm in block.iter_mut().flat_map(|layer| [&mut layer.bn1, &mut layer.bn2]) {
            let [channels] = norm.gamma.dims();
            let mut random = |mean| {
                let values = init.values(channels, Normal::new(mean, 0.7).unwrap());
                Param::from_data(TensorData::new(values, [channels]), device)
            };
            (norm.gamma, norm.beta) = (random(0.5), random(0.1));
        }
        block
    }

    fn close(ours: &[TensorData], theirs: &[TensorData]) {
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(2e-4, 2e-4));
        }
    }

    #[test]
    fn a_block_that_trains_is_its_layers() {
        let device = Device::flex().autodiff();
        for (shape, counted) in [([3, 9, 7, 7], 3), ([1, 2, 3, 7], 1), ([70, 4, 4, 7], 70), ([70, 4, 5, 7], 41)] {
            let x = Tensor::<4>::random(shape, Distribution::Normal(0.3, 1.0), &device).require_grad();
            let weights = Tensor::<4>::random([shape[0], shape[1], shape[2], 22], Distribution::Default, &device);
            let results = [true, false].map(|at_once| {
                let block = block(&device);
                let output = match at_once {
                    true => dense(x.clone(), &block, &None, counted),
                    false => block.iter().fold(x.clone(), |x, layer| layer.forward(x, counted)),
                };
                let gradients = (output.clone() * weights.clone()).sum().backward();
                let mut found = vec![output.into_data(), x.grad(&gradients).unwrap().into_data()];
                for layer in &block {
                    for convolution in [&layer.conv1, &layer.conv2] {
                        found.push(convolution.weight.grad(&gradients).unwrap().into_data());
                    }
                    for norm in [&layer.bn1, &layer.bn2] {
                        found.extend([&norm.gamma, &norm.beta].map(|of| of.grad(&gradients).unwrap().into_data()));
                        found.extend([&norm.running_mean, &norm.running_var].map(|of| of.value_sync().into_data()));
                    }
                }
                found
            });
            close(&results[0], &results[1]);
        }
    }

    #[test]
    fn a_block_that_scores_is_its_layers() {
        let device = Device::flex();
        let block: Vec<Bottleneck> = block(&device).into_iter().map(|layer| layer.valid().ready(&device)).collect();
        let ready = Block::new(block.iter().map(Bottleneck::parts));
        assert!(ready.is_some());
        let device = device.autodiff();
        for shape in [[3, 9, 7, 7], [1, 1, 1, 7], [257, 3, 3, 7], [5, 32, 32, 7]] {
            let x = Tensor::<4>::random(shape, Distribution::Normal(0.3, 1.0), &device).require_grad();
            let weights = Tensor::<4>::random([shape[0], shape[1], shape[2], 22], Distribution::Default, &device);
            let results = [&ready, &None].map(|ready| {
                let output = dense(x.clone(), &block, ready, shape[0]);
                let gradients = (output.clone() * weights.clone()).sum().backward();
                // Where no gradient is asked for, less is kept.
                let plain = dense(x.clone().inner(), &block, ready, shape[0]);
                [plain.into_data(), output.into_data(), x.grad(&gradients).unwrap().into_data()]
            });
            close(&results[0], &results[1]);
        }
    }
}
