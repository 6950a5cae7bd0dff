//! A dense block: layers each of which appends its channels to those of its input.
//!
//! The maps of all layers are one, into which each writes its own channels, so that nothing is copied to be appended to; and
//! a few images at a time go through all layers, so that they stay in the cache.

use std::{ops::Range, sync::Arc};

use super::{
    correlation::{Correlation, Finish, Then},
    machine::Machine,
    normal::{activate, affine, factors, inverse_deviations, moments, normal_gradient, normal_sums},
    packed::{Packed, Weights},
    shape::Shape,
    source::{Activation, Part, Source},
    sums::weight_gradient,
    threads::threads,
};

/// Pixels of each thread's part of the images that go through all layers together, about.
const PIXELS: usize = 1024;

/// Activation, a convolution with an activation, and one that makes the channels which the layer appends.
#[derive(Debug)]
pub struct Layer {
    /// Of each channel of the input.
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    pub narrow: Arc<Weights>,
    /// Of each channel of the narrow convolution.
    pub narrow_scale: Vec<f32>,
    pub narrow_shift: Vec<f32>,
    pub last: Arc<Weights>,
}

/// A block's maps.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    pub images: usize,
    pub size: [usize; 2],
    /// Channels of the input.
    pub channels: usize,
}

/// Of a convolution `[outputs, inputs, kernel]` whose output is as large as its input.
fn shape([outputs, inputs, kernel]: [usize; 3], images: usize, size: [usize; 2]) -> Shape {
    Shape { images, inputs, size, outputs, kernel, stride: 1, padding: (kernel - 1) / 2, even: false }
}

/// That of some weights.
fn shape_of(weights: &Weights, images: usize, size: [usize; 2]) -> Shape {
    let [outputs, inputs, kernel, _] = weights.shape;
    shape([outputs, inputs, kernel], images, size)
}

impl Layer {
    /// Of the channels that stand before its own in pixels of `across`.
    fn activation<'a>(&'a self, values: &'a [f32], across: usize) -> Activation<'a> {
        Activation { input: Part { values, first: 0, across }, scale: &self.scale, shift: &self.shift }
    }

    fn finish(&self) -> Then<'_> {
        let (scale, shift) = (&self.narrow_scale, &self.narrow_shift);
        Then::Finish(Finish { scale, shift, relu: true, pool: false, places: false })
    }
}

impl Maps {
    fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// How many images go through all layers together.
    fn together(&self) -> usize {
        (PIXELS * threads() / self.pixels().max(1)).max(1)
    }

    /// Channels of the output.
    pub fn outputs(&self, layers: &[Layer]) -> usize {
        self.channels + layers.iter().map(|layer| layer.last.forward.outputs).sum::<usize>()
    }
}

/// `[images, height, width, outputs]` of `input` `[images, height, width, channels]`, and if they are to be kept for the way back,
/// the maps between the two convolutions of each layer, `[layers, images, height, width, narrow]`.
pub fn forward(layers: &[Layer], maps: Maps, input: &[f32], keep: bool) -> (Vec<f32>, Vec<f32>) {
    let (pixels, across, size) = (maps.pixels(), maps.outputs(layers), maps.size);
    let mut output = vec![0.0; maps.images * pixels * across];
    let mut kept = vec![0.0; if keep { narrow(layers) * maps.images * pixels } else { 0 }];
    for first in (0..maps.images).step_by(maps.together()) {
        let images = maps.together().min(maps.images - first);
        let to = &mut output[first * pixels * across..][..images * pixels * across];
        let from = &input[first * pixels * maps.channels..];
        widen(from, maps.channels, to, across);
        let mut channels = maps.channels;
        let mut rest = &mut kept[..];
        let mut single = Vec::new();
        for layer in layers {
            let width = layer.narrow.forward.outputs;
            let between = if keep {
                let these = rest.split_off_mut(..maps.images * pixels * width).expect("there is room for all layers");
                &mut these[first * pixels * width..][..images * pixels * width]
            } else {
                single.resize(images * pixels * width, 0.0);
                &mut single[..]
            };
            let narrow = Correlation::forward(&shape_of(&layer.narrow, images, size));
            let activated = Source::Activated(layer.activation(to, across));
            narrow.run_into(&layer.narrow.forward, activated, layer.finish(), between, 0, width);
            let last = Correlation::forward(&shape_of(&layer.last, images, size));
            last.run_into(&layer.last.forward, Source::Plain(between), Then::Nothing, to, channels, across);
            channels += layer.last.forward.outputs;
        }
    }
    (output, kept)
}

/// Channels between the two convolutions, of all layers.
fn narrow(layers: &[Layer]) -> usize {
    layers.iter().map(|layer| layer.narrow.forward.outputs).sum()
}

/// The gradient of the input of [`forward`], from what it gave and the gradient of its output.
pub fn backward(layers: &[Layer], maps: Maps, output: &[f32], kept: &[f32], mut gradient: Vec<f32>) -> Vec<f32> {
    let (pixels, across, size) = (maps.pixels(), maps.outputs(layers), maps.size);
    let mut inner = Vec::new();
    for first in (0..maps.images).step_by(maps.together()) {
        let images = maps.together().min(maps.images - first);
        let range = first * pixels * across..(first + images) * pixels * across;
        let (output, gradient) = (&output[range.clone()], &mut gradient[range]);
        let mut channels = across;
        let mut rest = kept;
        for layer in layers.iter().rev() {
            let width = layer.narrow.forward.outputs;
            let these = rest.split_off(rest.len() - maps.images * pixels * width..).expect("all layers were kept");
            let between = &these[first * pixels * width..][..images * pixels * width];
            channels -= layer.last.forward.outputs;
            inner.resize(images * pixels * width, 0.0);
            let own = Source::Part(Part { values: gradient, first: channels, across });
            let last = Correlation::backward(&shape_of(&layer.last, images, size));
            last.run_into(&layer.last.backward, own, Then::Nothing, &mut inner, 0, width);
            let finished =
                Source::Finished { gradient: &inner, output: between, scale: &layer.narrow_scale, relu: true };
            let narrow = Correlation::backward(&shape_of(&layer.narrow, images, size));
            let zeros = vec![0.0; channels];
            let joins = Then::Add(layer.activation(output, across), [&layer.scale, &zeros, &zeros]);
            narrow.run_into(&layer.narrow.backward, finished, joins, gradient, 0, across);
        }
    }
    cut(&gradient, across, 0..maps.channels)
}

/// Copies pixels of some channels to the first of `across` channels.
fn widen(from: &[f32], channels: usize, to: &mut [f32], across: usize) {
    for (to, from) in to.chunks_exact_mut(across).zip(from.chunks_exact(channels)) {
        to[..channels].copy_from_slice(from);
    }
}

/// Some channels of pixels of `across`.
fn cut(values: &[f32], across: usize, channels: Range<usize>) -> Vec<f32> {
    let mut part = Vec::with_capacity(values.len() / across * channels.len());
    for pixel in values.chunks_exact(across) {
        part.extend_from_slice(&pixel[channels.clone()]);
    }
    part
}

/// A block that trains: layers of batch normalisation, ReLU, a 1 x 1 convolution, batch normalisation, ReLU, and a 3 x 3 convolution
/// to the channels which are appended.
#[derive(Clone, Copy, Debug)]
pub struct Training {
    pub layers: usize,
    /// Channels between a layer's convolutions.
    pub narrow: usize,
    /// Channels that a layer appends.
    pub growth: usize,
    /// That of the normalisations.
    pub epsilon: f64,
    /// How many images, the first ones, the moments are of.
    pub counted: usize,
}

/// What comes of it, and what the way back needs.
pub struct Trained {
    /// `[images, height, width, across]`
    pub output: Vec<f32>,
    /// What the narrow convolutions give, `[layers, images, height, width, narrow]`.
    pub between: Vec<f32>,
    /// Of each layer's two normalisations the mean and the variance by the number of pixels, one after the other.
    pub moments: Vec<f32>,
}

/// A layer's place in the block, and its part of the flat parameters.
struct Step<'a> {
    /// Channels of its input.
    channels: usize,
    /// `[gamma, beta]` of both normalisations.
    norms: [[&'a [f32]; 2]; 2],
    /// `[narrow, channels]`, `[growth, narrow, 3, 3]`
    filters: [&'a [f32]; 2],
}

/// One normalisation with the moments of a batch.
struct Normal<'a> {
    gamma: &'a [f32],
    mean: &'a [f32],
    inverse: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl<'a> Normal<'a> {
    fn new([gamma, beta]: [&'a [f32]; 2], [mean, variance]: [&'a [f32]; 2], epsilon: f64) -> Self {
        let inverse = inverse_deviations(variance, epsilon);
        let [scale, shift] = affine([mean, &inverse], [gamma, beta]);
        Normal { gamma, mean, inverse, scale, shift }
    }

    fn activation<'b>(&'b self, values: &'b [f32], across: usize) -> Activation<'b> {
        Activation { input: Part { values, first: 0, across }, scale: &self.scale, shift: &self.shift }
    }
}

impl Training {
    /// Channels that all layers append.
    pub fn appended(&self) -> usize {
        self.layers * self.growth
    }

    /// The layers with their parameters, of each `[gamma, beta, gamma, beta]` and `[narrow weights, last weights]`.
    fn steps<'a>(&self, inputs: usize, mut norms: &'a [f32], mut filters: &'a [f32]) -> Vec<Step<'a>> {
        let of = |index: usize| {
            let channels = inputs + index * self.growth;
            let norms = [channels, self.narrow]
                .map(|length| [(); 2].map(|()| norms.split_off(..length).expect("all layers have normalisations")));
            let filters = [channels * self.narrow, self.narrow * self.growth * 9]
                .map(|length| filters.split_off(..length).expect("all layers have weights"));
            Step { channels, norms, filters }
        };
        (0..self.layers).map(of).collect()
    }

    /// Those of a layer's two convolutions.
    fn shapes(&self, maps: Maps, channels: usize) -> [Shape; 2] {
        [[self.narrow, channels, 1], [self.growth, self.narrow, 3]]
            .map(|filters| shape(filters, maps.images, maps.size))
    }

    /// The output of `input` `[images, height, width, channels]`.
    pub fn forward(&self, maps: Maps, input: &[f32], norms: &[f32], filters: &[f32]) -> Trained {
        let (machine, narrow, pixels) = (Machine::best(), self.narrow, maps.images * maps.pixels());
        let across = maps.channels + self.appended();
        let mut output = vec![0.0; pixels * across];
        let mut between = vec![0.0; self.layers * pixels * narrow];
        let mut all_moments = Vec::new();
        widen(input, maps.channels, &mut output, across);
        // Every later layer normalises a channel by the same moments.
        let counted = self.counted * maps.pixels();
        let part = Part { values: &output[..counted * across], first: 0, across };
        let [mut means, mut variances] = moments(machine, part, maps.channels);
        for (index, Step { channels, norms, filters }) in
            self.steps(maps.channels, norms, filters).into_iter().enumerate()
        {
            let shapes = self.shapes(maps, channels);
            let between = &mut between[index * pixels * narrow..][..pixels * narrow];
            let before = Normal::new(norms[0], [&means, &variances], self.epsilon);
            let weights = Packed::forward(machine, shapes[0].filters(), filters[0]);
            let source = Source::Activated(before.activation(&output, across));
            Correlation::forward(&shapes[0]).run_into(&weights, source, Then::Nothing, between, 0, narrow);
            let part = Part { values: &between[..counted * narrow], first: 0, across: narrow };
            let inner = moments(machine, part, narrow);
            let after = Normal::new(norms[1], [&inner[0], &inner[1]], self.epsilon);
            let weights = Packed::forward(machine, shapes[1].filters(), filters[1]);
            let source = Source::Activated(after.activation(between, narrow));
            Correlation::forward(&shapes[1]).run_into(&weights, source, Then::Nothing, &mut output, channels, across);
            for part in [&means, &variances, &inner[0], &inner[1]] {
                all_moments.extend_from_slice(part);
            }
            let part = Part { values: &output[..counted * across], first: channels, across };
            let [mean, variance] = moments(machine, part, self.growth);
            means.extend(mean);
            variances.extend(variance);
        }
        Trained { output, between, moments: all_moments }
    }

    /// The gradients of input, `norms` and `filters`, from that of the output.
    pub fn backward(
        &self,
        maps: Maps,
        [output, between, moments]: [&[f32]; 3],
        [norms, filters]: [&[f32]; 2],
        mut gradient: Vec<f32>,
    ) -> [Vec<f32>; 3] {
        let (machine, narrow, pixels) = (Machine::best(), self.narrow, maps.images * maps.pixels());
        let counted = self.counted * maps.pixels();
        let across = maps.channels + self.appended();
        let mut norm_gradients = vec![0.0; norms.len()];
        let mut filter_gradients = vec![0.0; filters.len()];
        let (mut rest_moments, mut rest_norms, mut rest_filters) =
            (moments, &mut norm_gradients[..], &mut filter_gradients[..]);
        for (index, Step { channels, norms, filters }) in
            self.steps(maps.channels, norms, filters).into_iter().enumerate().rev()
        {
            let shapes = self.shapes(maps, channels);
            let between = &between[index * pixels * narrow..][..pixels * narrow];
            let length = rest_moments.len() - 2 * (channels + narrow);
            let (moments, inner) =
                rest_moments.split_off(length..).expect("all layers have moments").split_at(2 * channels);
            let before = Normal::new(norms[0], moments.split_at(channels).into(), self.epsilon);
            let after = Normal::new(norms[1], inner.split_at(narrow).into(), self.epsilon);

            let own = cut(&gradient, across, channels..channels + self.growth);
            let activated = activate(machine, between, &after.scale, &after.shift);
            let last = weight_gradient(machine, &shapes[1], Source::Plain(&activated), &own);
            let weights = Packed::backward(machine, shapes[1].filters(), filters[1]);
            let inner = Correlation::backward(&shapes[1]).run(&weights, Source::Plain(&own), Then::Nothing).values;
            let sums = normal_sums(machine, between, &activated, &inner, [after.mean, &after.inverse]);
            let [a, b, c] = factors(after.gamma, [after.mean, &after.inverse], [&sums[0], &sums[1]], counted);
            let inner = normal_gradient(machine, between, &activated, &inner, [&a, &b, &c], counted);

            let activation = before.activation(output, across);
            let first = weight_gradient(machine, &shapes[0], Source::Activated(activation), &inner);
            let weights = Packed::backward(machine, shapes[0].filters(), filters[0]);
            let correlation = Correlation::backward(&shapes[0]);
            let source = Source::Plain(&inner);
            let outer = correlation.sums(&weights, source, activation, [before.mean, &before.inverse]);
            let [a, b, c] = factors(before.gamma, [before.mean, &before.inverse], [&outer[0], &outer[1]], counted);
            // The products are computed once more: that takes less time than to write and read them.
            let (zeros, others) = (vec![0.0; channels], maps.images - self.counted);
            for (start, images, by) in
                [(0, self.counted, [&b, &c]), (self.counted, others, [&zeros; 2])].into_iter().filter(|part| part.1 > 0)
            {
                let (pixel, images) = (start * maps.pixels(), Maps { images, ..maps });
                let joins = Then::Add(before.activation(&output[pixel * across..], across), [&a, by[0], by[1]]);
                let source = Source::Plain(&inner[pixel * narrow..]);
                let to = &mut gradient[pixel * across..][..images.images * images.pixels() * across];
                let correlation = Correlation::backward(&self.shapes(images, channels)[0]);
                correlation.run_into(&weights, source, joins, to, 0, across);
            }

            for part in [&last, &first] {
                put_last(&mut rest_filters, part);
            }
            for part in [&sums[0], &sums[1], &outer[0], &outer[1]] {
                put_last(&mut rest_norms, part);
            }
        }
        [cut(&gradient, across, 0..maps.channels), norm_gradients, filter_gradients]
    }
}

/// Writes `part` to the end of what is left of a slice.
fn put_last(rest: &mut &mut [f32], part: &[f32]) {
    let length = rest.len() - part.len();
    rest.split_off_mut(length..).expect("there is room for all layers").copy_from_slice(part);
}
