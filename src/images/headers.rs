//! Headers that the decoders take at their word and viewers do not: cut off JPEG, BMP with alpha, GIF of another size.
//!
//! In: the bytes of an image. Out: the bytes for the decoder, so that it shows what browsers show, or an error.

use std::borrow::Cow;
use std::io::ErrorKind;

use image::error::{ParameterError, ParameterErrorKind};
use image::{ImageError, ImageFormat, ImageResult};

/// The bytes as a viewer understands them.
///
/// # Errors
/// When a JPEG is cut off, whose decoder would make up what is missing, or the first frame of a GIF has no pixels.
pub fn as_viewers_read(bytes: &[u8], format: ImageFormat) -> ImageResult<Cow<'_, [u8]>> {
    let changed = match format {
        ImageFormat::Jpeg if is_cut_off(bytes) => return Err(ImageError::IoError(ErrorKind::UnexpectedEof.into())),
        ImageFormat::Gif => match first_frame(bytes) {
            Some([_, _, 0, _] | [_, _, _, 0]) => return Err(no_pixels()),
            Some(frame) => gif_on_its_screen(bytes, frame),
            None => None,
        },
        ImageFormat::Bmp => bmp_with_its_alpha(bytes),
        _ => None,
    };
    Ok(changed.map_or(Cow::Borrowed(bytes), Cow::Owned))
}

/// The error for an image without pixels.
pub fn no_pixels() -> ImageError {
    ImageError::Parameter(ParameterError::from_kind(ParameterErrorKind::DimensionMismatch))
}

/// Whether no end follows the pixels of a JPEG.
fn is_cut_off(jpeg: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END: [u8; 2] = [0xff, 0xd9];
    // The segments before the pixels have a length; one with metadata may hold a smaller JPEG with an end of its own.
    let mut rest = jpeg.get(2..).unwrap_or_default();
    // Before a marker there may be any number of fill bytes, and decoders pass over whatever else there is.
    while let Some(start) = rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff)) {
        rest = &rest[start..];
        let length = match rest[1] {
            START_OF_SCAN => return !rest.windows(2).any(|pair| pair == END),
            // These stand alone.
            0x01 | 0xd0..=0xd9 => 0,
            _ => rest.get(2..4).map_or(0, |length| usize::from(u16::from_be_bytes([length[0], length[1]]))),
        };
        rest = rest.get(2 + length..).unwrap_or_default();
    }
    // The decoder knows what else may be wrong.
    false
}

/// Left, top, width and height of the first frame of a GIF.
fn first_frame(gif: &[u8]) -> Option<[u16; 4]> {
    const EXTENSION: u8 = 0x21;
    const FRAME: u8 = 0x2c;
    let flags = *gif.get(10)?;
    let colours = if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + colours;
    while *gif.get(at)? == EXTENSION {
        at += 2;
        // Blocks, each with its length before it, up to one of none.
        while *gif.get(at)? != 0 {
            at += 1 + usize::from(gif[at]);
        }
        at += 1;
    }
    (gif[at] == FRAME).then_some(())?;
    let numbers = gif.get(at + 1..at + 9)?;
    Some([0, 2, 4, 6].map(|number| u16::from_le_bytes([numbers[number], numbers[number + 1]])))
}

/// A GIF whose logical screen is smaller than its first frame, with one that holds it; nothing for others.
fn gif_on_its_screen(gif: &[u8], [left, top, width, height]: [u16; 4]) -> Option<Vec<u8>> {
    let [across, down] = [6, 8].map(|at| u16::from_le_bytes([gif[at], gif[at + 1]]));
    if width <= across && height <= down {
        return None;
    }
    let mut gif = gif.to_vec();
    gif[6..8].copy_from_slice(&across.max(left.saturating_add(width)).to_le_bytes());
    gif[8..10].copy_from_slice(&down.max(top.saturating_add(height)).to_le_bytes());
    Some(gif)
}

/// A BMP of 32 bits without masks for its colours but with one for alpha, with all four; nothing for others.
fn bmp_with_its_alpha(bmp: &[u8]) -> Option<Vec<u8>> {
    const WITH_MASKS: u8 = 3;
    // Sizes of the third to the fifth version of the header, which have room for the masks.
    const VERSIONS: [u32; 3] = [56, 108, 124];
    let number = |at: usize| Some(u32::from_le_bytes(*bmp.get(at..)?.first_chunk()?));
    let (version, compression, alpha) = (number(14)?, number(30)?, number(66)?);
    if !VERSIONS.contains(&version) || bmp[28..30] != [32, 0] || compression != 0 || alpha != 0xff00_0000 {
        return None;
    }
    let mut bmp = bmp.to_vec();
    bmp[30] = WITH_MASKS;
    for (at, mask) in [(54, 0x00ff_0000_u32), (58, 0x0000_ff00), (62, 0x0000_00ff)] {
        bmp[at..at + 4].copy_from_slice(&mask.to_le_bytes());
    }
    Some(bmp)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, Rgb, RgbImage};

    use super::super::image::{PIXELS, SIDE, decode};
    use super::*;

    fn encode(image: RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(image).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// Red grows to the right, green down.
    fn ramps(side: u32) -> RgbImage {
        RgbImage::from_fn(side, side, |x, y| Rgb([8 * x as u8, 8 * y as u8, 99]))
    }

    fn is_refused(bytes: &[u8]) -> bool {
        matches!(decode(bytes), Err(crate::error::Error::Image(_)))
    }

    /// Cameras keep a small JPEG among the metadata of a large one.
    #[test]
    fn end_of_a_preview_is_not_the_end_of_its_jpeg() {
        let preview = encode(ramps(16), ImageFormat::Jpeg);
        let mut jpeg = encode(ramps(32), ImageFormat::Jpeg);
        let length = (preview.len() as u16 + 2).to_be_bytes();
        jpeg.splice(2..2, [&[0xff, 0xe1][..], &length, &preview].concat());
        assert!(decode(&jpeg).is_ok());
        assert!(decode(&[&jpeg[..], b"an appended film"].concat()).is_ok());
        assert!(is_refused(&jpeg[..jpeg.len() - 200]));
    }

    #[test]
    fn fill_bytes_before_a_marker_do_not_hide_that_a_jpeg_is_cut_off() {
        let jpeg = encode(ramps(32), ImageFormat::Jpeg);
        let whole = decode(&jpeg).unwrap();
        let positions = |marker: u8| jpeg.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
        for marker in [0xe0, 0xdb, 0xc0, 0xc4, 0xda] {
            for fill in [&[0xff][..], &[0xff; 5]] {
                let mut filled = jpeg.clone();
                filled.splice(positions(marker)..positions(marker), fill.iter().copied());
                assert_eq!(decode(&filled).unwrap(), whole, "{marker:x}");
                assert!(is_refused(&filled[..filled.len() - 100]), "{marker:x}");
                assert!(is_refused(&filled[..filled.len() - 2]), "{marker:x}");
            }
        }
        let mut filled_end = jpeg[..jpeg.len() - 2].to_vec();
        filled_end.extend([0xff, 0xff, 0xff, 0xd9]);
        filled_end.extend(b"what a camera adds");
        assert_eq!(decode(&filled_end).unwrap(), whole);
    }

    /// One frame of `side`, on a screen of another size.
    fn gif(side: u16, screen: [u16; 2]) -> Vec<u8> {
        let mut gif = encode(ramps(side.into()), ImageFormat::Gif);
        gif[6..8].copy_from_slice(&screen[0].to_le_bytes());
        gif[8..10].copy_from_slice(&screen[1].to_le_bytes());
        gif
    }

    #[test]
    fn gif_is_as_large_as_its_first_frame_at_least() {
        let expected = decode(&gif(32, [32, 32])).unwrap();
        assert_ne!(expected[0], expected[SIDE - 1]);
        for screen in [[0, 0], [1, 1], [32, 0], [16, 32]] {
            assert_eq!(decode(&gif(32, screen)).unwrap(), expected, "{screen:?}");
        }
        // What a larger screen has around the frame is transparent.
        let around = decode(&gif(32, [36, 36])).unwrap();
        assert_eq!((around[0], around[SIDE - 1]), (expected[2 * SIDE + 2], 255));
    }

    #[test]
    fn image_without_pixels_is_refused() {
        let mut frame = gif(32, [32, 32]);
        assert_eq!(first_frame(&frame), Some([0, 0, 32, 32]));
        let at = frame.windows(9).position(|bytes| bytes == [0x2c, 0, 0, 0, 0, 32, 0, 32, 0]).unwrap();
        frame[at + 5] = 0;
        assert!(is_refused(&frame));
        assert!(is_refused(&gif(32, [0, 0])[..at]));
        for at in [18, 22] {
            let mut bmp = encode(ramps(32), ImageFormat::Bmp);
            bmp[at] = 0;
            assert!(is_refused(&bmp));
        }
    }

    /// A BMP of 32 bits, all of one colour, with an alpha for each pixel.
    fn bmp(header: u32, compression: u32, alphas: impl Fn(usize) -> u8) -> Vec<u8> {
        let pixels = SIDE * SIDE;
        let start = 14 + header;
        let mut bmp = Vec::from(*b"BM");
        bmp.extend(
            [start + 4 * pixels as u32, 0, start, header, SIDE as u32, SIDE as u32].map(u32::to_le_bytes).concat(),
        );
        bmp.extend([1, 0, 32, 0]);
        bmp.extend([compression, 4 * pixels as u32, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
        let masks: [u32; 4] = [0x00ff_0000, 0x0000_ff00, 0x0000_00ff, 0xff00_0000];
        bmp.extend(masks.map(u32::to_le_bytes).concat());
        bmp.resize(start as usize, 0);
        bmp.extend((0..pixels).flat_map(|pixel| [30, 20, 10, alphas(pixel)]));
        bmp
    }

    #[test]
    fn alpha_of_a_bmp_counts_where_it_is_not_all_zero() {
        for (header, compression) in [(56, 3), (108, 3), (124, 3), (56, 0), (108, 0), (124, 0)] {
            let clear = decode(&bmp(header, compression, |_| 0)).unwrap();
            assert_eq!([clear[0], clear[PIXELS / 3], clear[PIXELS - 1]], [10, 20, 30], "{header} {compression}");
            let some = decode(&bmp(header, compression, |pixel| if pixel == 0 { 255 } else { 0 })).unwrap();
            // The rows go from the lowest to the highest.
            assert_eq!((some[SIDE * (SIDE - 1)], some[0]), (10, 255), "{header} {compression}");
        }
        // A header without masks has no alpha.
        let plain = bmp(40, 0, |pixel| pixel as u8);
        assert!(decode(&plain).is_ok_and(|image| image[..SIDE * SIDE].iter().all(|&red| red == 10)));
    }
}
