//! NumPy's format for one array, as `numpy.lib.format` describes it: `\x93NUMPY`, a version, the length of a header, the header,
//! which is a Python dictionary of three keys, and the values.
//!
//! Read here and not by the crate `npyz`: that would add 60 KB to the page's module, and in the browser a header of a false length or
//! of many brackets ends its worker.

use half::f16;

use super::contents::wrong;
use crate::error::Result;

/// How an `.npy` begins.
pub const MAGIC: &[u8] = b"\x93NUMPY";

const TYPES: &str = "numbers of type f2, f4 or f8, or whole ones of type i or u";

/// An array of numbers.
#[derive(Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    /// In C order, where the last index changes first.
    pub values: Vec<f64>,
}

/// Reads an `.npy`, all of it in `bytes`.
pub fn read(place: &str, bytes: &[u8]) -> Result<Array> {
    let (header, values) = split(bytes).ok_or_else(|| wrong(place, "a sound .npy", "another header or none"))?;
    let value = |key| value(header, key).ok_or_else(|| wrong(place, &format!("a header with `{key}`"), header.trim()));
    let (descr, order, shape) = (value("descr")?, value("fortran_order")?, value("shape")?);
    let shape: Vec<usize> =
        numbers(shape).ok_or_else(|| wrong(place, "a header with the array's shape", header.trim()))?;
    let kind = Kind::parse(place, descr)?;
    let count = shape.iter().try_fold(1usize, |count, &length| count.checked_mul(length));
    let needed = count.and_then(|count| count.checked_mul(kind.size));
    let Some(values) = needed.and_then(|needed| values.get(..needed)) else {
        let expected = format!("an array of shape {shape:?}, of {} bytes each", kind.size);
        return Err(wrong(place, &expected, format!("{} bytes", values.len())));
    };
    let mut values: Vec<f64> = values.chunks_exact(kind.size).map(|bytes| kind.value(bytes)).collect();
    if let (true, [rows, columns]) = (order.starts_with("True"), &shape[..]) {
        values = (0..rows * columns).map(|index| values[index % columns * rows + index / columns]).collect();
    }
    Ok(Array { shape, values })
}

/// The header, and what follows it.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (version, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<2>()?;
    let (length, rest) = match version {
        [1, _] => rest.split_first_chunk().map(|(length, rest)| (u32::from(u16::from_le_bytes(*length)), rest)),
        _ => rest.split_first_chunk().map(|(length, rest)| (u32::from_le_bytes(*length), rest)),
    }?;
    let (header, values) = rest.split_at_checked(length as usize)?;
    Some((std::str::from_utf8(header).ok()?, values))
}

/// What follows a key of the dictionary.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// The numbers of a tuple.
fn numbers(tuple: &str) -> Option<Vec<usize>> {
    let (inside, _) = tuple.strip_prefix('(')?.split_once(')')?;
    inside.split(',').map(str::trim).filter(|number| !number.is_empty()).map(|number| number.parse().ok()).collect()
}

/// The type of a value.
struct Kind {
    is_big_endian: bool,
    /// Floating-point, signed or unsigned: `f`, `i` or `u`.
    letter: u8,
    /// In bytes.
    size: usize,
}

impl Kind {
    /// Of a type's name, such as `'<f4'`.
    fn parse(place: &str, descr: &str) -> Result<Self> {
        let name = descr.strip_prefix('\'').and_then(|rest| Some(rest.split_once('\'')?.0));
        let name = name.ok_or_else(|| wrong(place, TYPES, "a structured array"))?;
        match *name.as_bytes() {
            [order @ (b'<' | b'>' | b'|'), letter @ (b'f' | b'i' | b'u'), size @ (b'1' | b'2' | b'4' | b'8')]
                if (letter, size) != (b'f', b'1') =>
            {
                Ok(Kind { is_big_endian: order == b'>', letter, size: usize::from(size - b'0') })
            }
            [_, b'O', ..] => Err(wrong(place, TYPES, "Python objects, as a pickle, which can run code")),
            _ => Err(wrong(place, TYPES, name)),
        }
    }

    fn value(&self, bytes: &[u8]) -> f64 {
        let mut little_endian = [0; 8];
        little_endian[..self.size].copy_from_slice(bytes);
        if self.is_big_endian {
            little_endian[..self.size].reverse();
        }
        let bits = u64::from_le_bytes(little_endian);
        let unused = 64 - 8 * self.size as u32;
        match (self.letter, self.size) {
            (b'f', 2) => f16::from_bits(bits as u16).to_f64(),
            (b'f', 4) => f32::from_bits(bits as u32).into(),
            (b'f', _) => f64::from_bits(bits),
            (b'i', _) => ((bits << unused) as i64 >> unused) as f64,
            _ => bits as f64,
        }
    }
}
