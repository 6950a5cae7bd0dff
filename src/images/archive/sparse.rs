//! Sparse files in tars of the POSIX form, as GNU tar and macOS write them: parts and where they lie, with holes between.

use std::io::{Read, Result};

use tar::Entry;

/// What the header of a sparse file says.
#[derive(Default)]
pub struct Sparse {
    /// The file's name; that of the entry is made up.
    pub name: Option<Vec<u8>>,
    /// Bytes of the file.
    pub size: u64,
    /// Start and length of each part; before them in the data where the header has none.
    map: Vec<u64>,
    is_map_in_data: bool,
}

impl Sparse {
    /// That of an entry which is a sparse file. GNU's older form is not meant: [`tar`] reads it.
    pub fn of<R: Read>(entry: &mut Entry<'_, R>) -> Result<Option<Self>> {
        let mut found: Option<Self> = None;
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let Some(key) = extension.key().ok().and_then(|key| key.strip_prefix("GNU.sparse.")) else { continue };
            let sparse = found.get_or_insert_default();
            let value = extension.value().unwrap_or_default();
            let mut numbers = value.split(',').filter_map(|number| number.parse::<u64>().ok());
            match key {
                "name" => sparse.name = Some(extension.value_bytes().to_owned()),
                "size" | "realsize" => sparse.size = numbers.next_back().unwrap_or_default(),
                "map" | "offset" | "numbytes" => sparse.map.extend(numbers),
                "major" => sparse.is_map_in_data = value != "0",
                _ => {}
            }
        }
        Ok(found)
    }

    /// The file from its stored parts, `size` bytes; nothing where the map does not fit them.
    pub fn unfold(self, stored: &[u8]) -> Option<Vec<u8>> {
        let (map, mut parts) = if self.is_map_in_data { map_in_data(stored)? } else { (self.map, stored) };
        let mut file = vec![0; usize::try_from(self.size).ok()?];
        for part in map.chunks(2) {
            let &[start, length] = part else { return None };
            let (start, length) = (usize::try_from(start).ok()?, usize::try_from(length).ok()?);
            let (bytes, rest) = parts.split_at_checked(length)?;
            file.get_mut(start..start.checked_add(length)?)?.copy_from_slice(bytes);
            parts = rest;
        }
        Some(file)
    }
}

/// The map at the head of the data and the parts behind it: how many there are, then their starts and lengths, a number a
/// line, filled up to a block of 512 bytes.
fn map_in_data(data: &[u8]) -> Option<(Vec<u64>, &[u8])> {
    let mut at = 0;
    let mut number = || -> Option<u64> {
        let line = data.get(at..)?.split(|&byte| byte == b'\n').next()?;
        at += line.len() + 1;
        std::str::from_utf8(line).ok()?.parse().ok()
    };
    let count = number()?.checked_mul(2)?;
    let map = (0..count).map(|_| number()).collect::<Option<Vec<u64>>>()?;
    Some((map, data.get(at.next_multiple_of(512)..)?))
}
