//! A dense block: layers each of which appends its channels to those of its input.
//!
//! The maps of all layers are one, into which each writes its own channels, so that nothing is copied to be appended to; and
//! a few images at a time go through all layers, so that they stay in the cache.

use std::sync::Arc;

use super::{
    correlation::{Activation, Correlation, Finish, Part, Source, Then},
    packed::Weights,
    shape::Shape,
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

/// Of a convolution whose output is as large as its input.
fn shape(weights: &Weights, images: usize, size: [usize; 2]) -> Shape {
    let [outputs, inputs, kernel, _] = weights.shape;
    Shape { images, inputs, size, outputs, kernel, stride: 1, padding: (kernel - 1) / 2, even: false }
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
        for (to, from) in to.chunks_exact_mut(across).zip(from.chunks_exact(maps.channels)) {
            to[..maps.channels].copy_from_slice(from);
        }
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
            let narrow = Correlation::forward(&shape(&layer.narrow, images, size));
            let activated = Source::Activated(layer.activation(to, across));
            narrow.run_into(&layer.narrow.forward, activated, layer.finish(), between, 0, width);
            let last = Correlation::forward(&shape(&layer.last, images, size));
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
    let mut input = Vec::with_capacity(maps.images * pixels * maps.channels);
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
            let last = Correlation::backward(&shape(&layer.last, images, size));
            last.run_into(&layer.last.backward, own, Then::Nothing, &mut inner, 0, width);
            let finished =
                Source::Finished { gradient: &inner, output: between, scale: &layer.narrow_scale, relu: true };
            let narrow = Correlation::backward(&shape(&layer.narrow, images, size));
            let joins = Then::Add(layer.activation(output, across));
            narrow.run_into(&layer.narrow.backward, finished, joins, gradient, 0, across);
        }
        for pixel in gradient.chunks_exact(across) {
            input.extend_from_slice(&pixel[..maps.channels]);
        }
    }
    input
}
