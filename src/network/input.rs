//! From pixels to what the networks take.

use burn::tensor::{Device, Tensor, TensorData};

use crate::images::image::{CHANNELS, Normalisation, PIXELS, SIDE};

/// `[n, 3, 32, 32]`, normalised, from planar u8.
pub fn image_tensor(images: &[u8], normalisation: &Normalisation, device: &Device) -> Tensor<4> {
    let mut values = vec![0.0; images.len()];
    normalisation.apply(images, &mut values);
    let shape = [images.len() / PIXELS, CHANNELS, SIDE, SIDE];
    Tensor::from_data(TensorData::new(values, shape), device)
}
