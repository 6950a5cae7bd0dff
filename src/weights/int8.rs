//! The 8-bit form of a fold file, for the page: filters as whole numbers from -127 to 127 with a scale for each output
//! channel, and the whole compressed with gzip.
//!
//! In safetensors terms a tensor `NAME` of rank 4 becomes `NAME` (I8, same shape) and `NAME.scale` (F32, one value for
//! each slice along the first axis). Vectors, the classifier's matrix and filters over the image's own channels stay as
//! they are: together they are small, and detection is sensitive to their rounding.

use std::io::Read;

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use half::f16;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::images::image::CHANNELS;

/// Ending of the scales' names.
const SCALE: &str = ".scale";

/// Largest magnitude of a stored number.
const LEVELS: f32 = 127.0;

/// First bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

type Result<T> = std::result::Result<T, String>;

/// A tensor that is about to be stored.
struct Stored {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

fn is_stored_in_8_bits(shape: &[usize]) -> bool {
    matches!(*shape, [outputs, inputs, height, width] if inputs > CHANNELS && outputs * height * width > 0)
}

/// The 8-bit form of the fold file `file`.
///
/// # Errors
/// What is wrong with `file`, where it is no plain fold file.
pub fn quantise(file: &[u8]) -> Result<Vec<u8>> {
    if file.starts_with(&GZIP) {
        return Err("expected single or half precision, found 8 bits already".to_owned());
    }
    let mut stored = Vec::new();
    for (name, tensor) in SafeTensors::deserialize(file).map_err(|error| error.to_string())?.tensors() {
        let shape = tensor.shape().to_vec();
        if !is_stored_in_8_bits(&shape) {
            stored.push(Stored { name, dtype: tensor.dtype(), shape, data: tensor.data().to_vec() });
            continue;
        }
        let values = floats(&name, &tensor)?;
        let mut data = Vec::with_capacity(values.len());
        let mut scales = Vec::with_capacity(4 * shape[0]);
        for slice in values.chunks_exact(values.len() / shape[0]) {
            let largest = slice.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            let scale = if largest > 0.0 { largest / LEVELS } else { 1.0 };
            scales.extend(scale.to_le_bytes());
            data.extend(slice.iter().map(|value| (value / scale).round() as i8 as u8));
        }
        stored.push(Stored { name: name.clone() + SCALE, dtype: Dtype::F32, shape: vec![shape[0]], data: scales });
        stored.push(Stored { name, dtype: Dtype::I8, shape, data });
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut gzip, &serialize(&stored)?).map_err(|error| error.to_string())?;
    gzip.finish().map_err(|error| error.to_string())
}

/// A plain fold file from either form; one that is plain already comes back as it is.
///
/// `values` is the number of values in the network, which bounds what is decompressed.
///
/// # Errors
/// What is wrong with `file`, where it has neither form.
pub fn expand(file: &[u8], values: usize) -> Result<Vec<u8>> {
    if !file.starts_with(&GZIP) {
        // The reader of plain files wants bytes of its own.
        return Ok(file.to_vec());
    }
    // Single precision and generous names.
    let limit = 4 * values as u64 + (1 << 20);
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(file).take(limit + 1).read_to_end(&mut plain);
    read.map_err(|error| format!("damaged gzip: {error}"))?;
    if plain.len() as u64 > limit {
        return Err(format!("more than {limit} bytes in a gzip file"));
    }
    let tensors = SafeTensors::deserialize(&plain).map_err(|error| error.to_string())?;
    let mut stored = Vec::new();
    for (name, tensor) in tensors.tensors() {
        if name.ends_with(SCALE) {
            continue;
        }
        let shape = tensor.shape().to_vec();
        let data = match tensor.dtype() {
            Dtype::I8 => {
                let scale_name = name.clone() + SCALE;
                let scales = tensors.tensor(&scale_name).map_err(|error| error.to_string())?;
                let scales = floats(&scale_name, &scales)?;
                if shape.is_empty() || scales.len() != shape[0] || tensor.data().is_empty() {
                    return Err(format!("{} scales for {name} of shape {shape:?}", scales.len()));
                }
                let slices = tensor.data().chunks_exact(tensor.data().len() / shape[0]).zip(scales);
                slices
                    .flat_map(|(slice, scale)| slice.iter().map(move |&value| f32::from(value as i8) * scale))
                    .collect()
            }
            _ => floats(&name, &tensor)?,
        };
        let data = data.into_iter().flat_map(f32::to_le_bytes).collect();
        stored.push(Stored { name, dtype: Dtype::F32, shape, data });
    }
    serialize(&stored)
}

fn floats(name: &str, tensor: &TensorView) -> Result<Vec<f32>> {
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => Ok(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::F16 => Ok(data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()),
        other => Err(format!("{name} of type {other:?}")),
    }
}

fn serialize(stored: &[Stored]) -> Result<Vec<u8>> {
    let views = stored.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.data)?;
        Ok((tensor.name.as_str(), view))
    });
    let views: std::result::Result<Vec<_>, safetensors::SafeTensorError> = views.collect();
    views.and_then(|views| safetensors::serialize(views, None)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTERS: [f32; 8] = [1.0, -2.0, 0.25, 0.3, 0.0, 0.0, 0.0, 0.0];
    /// More than the values of [`plain`].
    const VALUES: usize = 16;

    fn plain() -> Vec<u8> {
        let stored = |name: &str, shape: &[usize], values: &[f32]| Stored {
            name: name.into(),
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        serialize(&[
            stored("filters", &[2, 4, 1, 1], &FILTERS),
            stored("first", &[1, 3, 1, 1], &[1.0, 0.3, 0.1]),
            stored("matrix", &[2, 2], &[1.0, 0.3, 0.1, 0.2]),
            stored("bias", &[1], &[1e-30]),
        ])
        .unwrap()
    }

    #[test]
    fn filters_come_back_to_half_a_level_and_the_rest_exactly() {
        let plain_again = expand(&quantise(&plain()).unwrap(), VALUES).unwrap();
        let tensors = SafeTensors::deserialize(&plain_again).unwrap();
        let values = |name: &str| floats(name, &tensors.tensor(name).unwrap()).unwrap();
        let filters = values("filters");
        assert_eq!(filters[1], -2.0);
        assert_ne!(filters[3], 0.3);
        for (found, expected) in filters.iter().zip(FILTERS) {
            assert!((found - expected).abs() <= 0.5 * 2.0 / LEVELS + 1e-6, "{found} {expected}");
        }
        assert_eq!(values("first"), [1.0, 0.3, 0.1]);
        assert_eq!(values("matrix"), [1.0, 0.3, 0.1, 0.2]);
        assert_eq!(values("bias"), [1e-30]);
        assert_eq!(tensors.len(), 4);
    }

    #[test]
    fn plain_files_stay_as_they_are() {
        assert_eq!(expand(&plain(), VALUES).unwrap(), plain());
    }

    #[test]
    fn damaged_files_are_rejected() {
        let sound = quantise(&plain()).unwrap();
        assert!(expand(&sound[..sound.len() / 2], VALUES).unwrap_err().contains("gzip"));
        assert!(quantise(b"nothing").is_err());
        assert!(quantise(&sound).unwrap_err().contains("found 8 bits already"));
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        std::io::Write::write_all(&mut bomb, &vec![0; 3 << 20]).unwrap();
        assert!(expand(&bomb.finish().unwrap(), VALUES).unwrap_err().contains("more than"));
    }
}
