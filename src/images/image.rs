//! One image: encoded bytes in, 32 x 32 RGB out, and from there normalised floats for the network.
//!
//! Images are kept as `u8` in planar order (`[3, 32, 32]`: all red, all green, all blue, each row by row), which is the
//! order of the CIFAR files and of the network's input.
//!
//! The rule for an image of any size, the same for every set: 32 x 32 is taken as it is; 36 x 36 loses 2 pixels on each
//! side (the "crop" sets of ODIN are stored so); any other size is cropped to its central square and resized with an
//! anti-aliased bilinear (triangle) filter.

use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use super::headers;
use crate::error::Result;

/// Height and width in pixels of every image the networks see.
pub const SIDE: usize = 32;
/// Red, green, blue.
pub const CHANNELS: usize = 3;
/// Bytes of one image, `3 * 32 * 32`.
pub const PIXELS: usize = CHANNELS * SIDE * SIDE;

/// Per-channel mean of CIFAR in [0, 1]; Liang et al. 2018 (ODIN), code/cal.py.
pub const CIFAR_MEAN: [f32; 3] = [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0];
/// Per-channel standard deviation of CIFAR in [0, 1]; Liang et al. 2018 (ODIN), code/cal.py.
pub const CIFAR_STD: [f32; 3] = [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0];

/// Side of the images in ODIN's "crop" sets (Imagenet, LSUN): 32 x 32 with a border of 2.
const CROP_SET_SIDE: u32 = 36;
/// Longest side that is decoded.
const MAX_SIDE: u32 = 8192;
/// Most memory one decoded image may take; holds a 24-megapixel photograph.
const MAX_DECODED_BYTES: u64 = 96 << 20;

/// Decodes PNG, JPEG, WebP, BMP or GIF (its first frame) to a planar 32 x 32 RGB image by the rule at the top of this file.
///
/// Grey becomes RGB, 16 bits become 8, EXIF orientation is applied, and transparent pixels are laid over white, as a
/// viewer shows them. Nothing larger than 8192 x 8192 pixels or 96 MiB decoded is read.
///
/// # Errors
/// [`Error::Image`](crate::error::Error::Image) when the bytes are no such image, are damaged, or exceed the limits.
pub fn decode(bytes: &[u8]) -> Result<[u8; PIXELS]> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);

    let format = image::guess_format(bytes)?;
    let bytes = headers::as_viewers_read(bytes, format)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    if decoder.total_bytes() == 0 {
        return Err(headers::no_pixels().into());
    }
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    // Metadata that cannot be read says nothing about the pixels, so the image is taken as stored.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    if format == ImageFormat::Bmp {
        show_if_clear(&mut image);
    }

    let mut image = DynamicImage::ImageRgb8(to_side(image));
    image.apply_orientation(orientation);
    Ok(to_planar(&image.into_rgb8()))
}

/// Makes an image opaque whose pixels are all transparent: many programs write BMP files with an alpha channel of zeros.
fn show_if_clear(image: &mut DynamicImage) {
    if let DynamicImage::ImageRgba8(image) = image
        && image.pixels().all(|pixel| pixel.0[3] == 0)
    {
        image.pixels_mut().for_each(|pixel| pixel.0[3] = u8::MAX);
    }
}

/// Crops and resizes to 32 x 32. Only what the crop keeps is converted, so a large image is not copied as a whole.
fn to_side(image: DynamicImage) -> RgbImage {
    let side = SIDE as u32;
    let (width, height) = (image.width(), image.height());
    if (width, height) == (side, side) {
        return to_rgb(image);
    }
    if (width, height) == (CROP_SET_SIDE, CROP_SET_SIDE) {
        let border = (CROP_SET_SIDE - side) / 2;
        return to_rgb(image.crop_imm(border, border, side, side));
    }
    let square = width.min(height);
    let image = image.crop_imm((width - square) / 2, (height - square) / 2, square, square);
    imageops::resize(&to_rgb(image), side, side, FilterType::Triangle)
}

/// 8-bit RGB; transparent pixels are laid over white.
fn to_rgb(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    let mut rgb = RgbImage::new(image.width(), image.height());
    for (out, pixel) in rgb.pixels_mut().zip(image.pixels()) {
        let [.., alpha] = pixel.0;
        let over_white = |value: u8| (u32::from(value) * u32::from(alpha) + 255 * u32::from(255 - alpha) + 127) / 255;
        *out = Rgb([0, 1, 2].map(|channel| over_white(pixel.0[channel]) as u8));
    }
    rgb
}

/// Interleaved `[32, 32, 3]` to planar `[3, 32, 32]`.
fn to_planar(image: &RgbImage) -> [u8; PIXELS] {
    let mut planar = [0; PIXELS];
    for (position, pixel) in image.pixels().enumerate() {
        for (channel, &value) in pixel.0.iter().enumerate() {
            planar[channel * SIDE * SIDE + position] = value;
        }
    }
    planar
}

/// What is subtracted from each channel and what it is divided by, both in units of the [0, 1] pixel range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Subtracted from red, green and blue.
    pub mean: [f32; 3],
    /// What they are divided by then.
    pub std: [f32; 3],
}

impl Default for Normalisation {
    /// CIFAR's, [`CIFAR_MEAN`] and [`CIFAR_STD`], which the paper uses for CIFAR-10 and CIFAR-100 alike.
    fn default() -> Self {
        Self { mean: CIFAR_MEAN, std: CIFAR_STD }
    }
}

impl Normalisation {
    /// Writes `(p / 255 - mean) / std` for each value of any number of planar images, `[n, 3, 32, 32]` in and out.
    ///
    /// # Panics
    /// When the two slices differ in length or do not hold whole images.
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(pixels.len(), out.len(), "one normalised value per pixel value");
        assert_eq!(pixels.len() % PIXELS, 0, "whole images of {PIXELS} bytes");

        let tables: [[f32; 256]; CHANNELS] = std::array::from_fn(|channel| {
            std::array::from_fn(|value| (value as f32 / 255.0 - self.mean[channel]) / self.std[channel])
        });
        let planes = pixels.chunks_exact(SIDE * SIDE).zip(out.chunks_exact_mut(SIDE * SIDE));
        for ((plane, out), table) in planes.zip(tables.iter().cycle()) {
            for (out, &value) in out.iter_mut().zip(plane) {
                *out = table[usize::from(value)];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use image::{ExtendedColorType, ImageEncoder, ImageError, Luma, Rgba};
    use proptest::prelude::*;

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// Every pixel tells where it is.
    fn coordinates(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, (x ^ y) as u8]))
    }

    #[test]
    fn side_32_passes_untouched_in_planar_order() {
        let planar = decode(&encode(coordinates(32, 32), ImageFormat::Png)).unwrap();
        assert_eq!(planar[..3], [0, 1, 2]);
        assert_eq!(planar[SIDE * SIDE..][..3], [0, 0, 0]);
        assert_eq!(planar[SIDE * SIDE + SIDE], 1);
        assert_eq!(planar[2 * SIDE * SIDE + 3 * SIDE + 5], 3 ^ 5);
    }

    #[test]
    fn side_36_is_cropped_to_its_centre() {
        let planar = decode(&encode(coordinates(36, 36), ImageFormat::Png)).unwrap();
        assert_eq!((planar[0], planar[SIDE * SIDE]), (2, 2));
        assert_eq!((planar[SIDE * SIDE - 1], planar[2 * SIDE * SIDE - 1]), (33, 33));
    }

    #[test]
    fn wide_images_are_cropped_to_the_central_square() {
        let stripes =
            RgbImage::from_fn(192, 64, |x, _| if (64..128).contains(&x) { Rgb([9, 99, 199]) } else { Rgb([255; 3]) });
        let planar = decode(&encode(stripes, ImageFormat::Bmp)).unwrap();
        for (channel, expected) in [9, 99, 199].into_iter().enumerate() {
            assert!(planar[channel * SIDE * SIDE..][..SIDE * SIDE].iter().all(|&value| value == expected));
        }
    }

    #[test]
    fn large_images_are_averaged_not_sampled() {
        let fine = RgbImage::from_fn(256, 256, |x, y| Rgb([if (x + y) % 2 == 0 { 0 } else { 255 }; 3]));
        let planar = decode(&encode(fine, ImageFormat::Png)).unwrap();
        assert!(planar.iter().all(|value| (126..=129).contains(value)), "{planar:?}");
    }

    #[test]
    fn grey_16_bit_and_transparent_images_become_rgb() {
        let grey = image::GrayImage::from_pixel(32, 32, Luma([77]));
        assert!(decode(&encode(grey, ImageFormat::Png)).unwrap().iter().all(|&value| value == 77));

        let deep = image::ImageBuffer::from_pixel(32, 32, Rgb([0x8080_u16; 3]));
        assert!(decode(&encode(deep, ImageFormat::Png)).unwrap().iter().all(|&value| value == 0x80));

        let clear = image::RgbaImage::from_pixel(32, 32, Rgba([0, 0, 0, 0]));
        assert!(decode(&encode(clear, ImageFormat::Png)).unwrap().iter().all(|&value| value == 255));
        let half = image::RgbaImage::from_pixel(32, 32, Rgba([0, 0, 0, 128]));
        assert!(decode(&encode(half, ImageFormat::Png)).unwrap().iter().all(|&value| value == 127));
    }

    #[test]
    fn exif_orientation_is_applied() {
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
        let upside_down = |exif: Vec<u8>| {
            let mut bytes = Vec::new();
            let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
            encoder.set_exif_metadata(exif).unwrap();
            encoder.write_image(&coordinates(32, 32), 32, 32, ExtendedColorType::Rgb8).unwrap();
            decode(&bytes).unwrap()
        };
        assert_eq!(upside_down(exif.clone())[0], 31);
        exif[18] = 1;
        assert_eq!(upside_down(exif)[0], 0);
    }

    #[test]
    fn damaged_image_is_rejected() {
        let refused = |bytes: &[u8]| assert!(matches!(decode(bytes), Err(Error::Image(_))));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif] {
            let sound = encode(coordinates(32, 32), format);
            refused(&sound[..sound.len() * 9 / 10]);
        }
        refused(b"not an image");
        refused(b"");
    }

    #[test]
    fn oversized_image_is_rejected_before_it_is_decoded() {
        // Only the header of a BMP that claims 8193 x 32, then one that claims 8192 x 8192.
        for (width, height) in [(8193, 32), (8192_u32, 8192_u32)] {
            let mut bytes = encode(RgbImage::new(1, 1), ImageFormat::Bmp);
            bytes[18..22].copy_from_slice(&width.to_le_bytes());
            bytes[22..26].copy_from_slice(&height.to_le_bytes());
            assert!(matches!(decode(&bytes), Err(Error::Image(ImageError::Limits(_)))));
        }
    }

    #[test]
    fn normalisation_matches_hand_computed_values() {
        let mut pixels = [0; 2 * PIXELS];
        pixels[PIXELS + SIDE * SIDE] = 255; // green, first pixel, second image
        let mut out = [0.0; 2 * PIXELS];
        Normalisation::default().apply(&pixels, &mut out);
        assert!((out[0] + 125.3 / 63.0).abs() < 1e-6);
        assert!((out[2 * SIDE * SIDE] + 113.9 / 66.7).abs() < 1e-6);
        assert!((out[PIXELS + SIDE * SIDE] - (255.0 - 123.0) / 62.1).abs() < 1e-6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_size_decodes_to_32_by_32(width in 1_u32..90, height in 1_u32..90, value: [u8; 3]) {
            let planar = decode(&encode(RgbImage::from_pixel(width, height, Rgb(value)), ImageFormat::Png)).unwrap();
            for (channel, plane) in planar.chunks(SIDE * SIDE).enumerate() {
                prop_assert!(plane.iter().all(|&out| out == value[channel]));
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_rejected(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
