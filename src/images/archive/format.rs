//! Which kind of archive a file is.

use std::io::{Read, Result as IoResult, Seek, SeekFrom};

use crate::error::{Error, Result};

/// Bytes of a tar's header, enough to tell every kind.
const HEAD: u64 = 512;
/// Bytes of the record at the end of a zip without its comment, and with the longest.
const ZIP_END: usize = 22;
const ZIP_END_MOST: u64 = ZIP_END as u64 + 65_535;

/// The kind of an archive, told by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A zip archive.
    Zip,
    /// A tar that is not compressed.
    Tar,
    /// A gzip stream, taken to hold a tar.
    TarGz,
}

impl Format {
    /// The format of a file that starts with `head`, of which 512 bytes suffice; 262 for all but the oldest tars.
    pub fn detect(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if head.starts_with(&[0x1f, 0x8b]) {
            Some(Self::TarGz)
        } else if head.get(257..262) == Some(b"ustar") || has_tar_checksum(head) {
            Some(Self::Tar)
        } else {
            None
        }
    }

    /// The format of a file, also of a zip behind a program that unpacks it; leaves `reader` at the start.
    ///
    /// # Errors
    /// [`Error::ArchiveKind`] for an archive of another kind, [`Error::Archive`] when the file cannot be read.
    pub fn of(reader: &mut (impl Read + Seek)) -> Result<Option<Self>> {
        let unreadable = |source| Error::Archive { entries: 0, source };
        let (head, length) = ends(reader).map_err(unreadable)?;
        if let Some(format) = Self::detect(&head) {
            return Ok(Some(format));
        }
        if let Some((_, kind)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(Error::ArchiveKind { kind });
        }
        // An image is one whatever follows it.
        let is_zip = image::guess_format(&head).is_err() && ends_as_zip(reader, length).map_err(unreadable)?;
        reader.rewind().map_err(unreadable)?;
        Ok(is_zip.then_some(Self::Zip))
    }
}

/// How archives begin that are not read.
const OTHERS: [(&[u8], &str); 7] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"LZIP", "lzip"),
];

/// The first bytes of a file and its length; leaves `reader` at the start.
pub fn ends(reader: &mut (impl Read + Seek)) -> IoResult<(Vec<u8>, u64)> {
    let mut head = Vec::new();
    reader.rewind()?;
    reader.by_ref().take(HEAD).read_to_end(&mut head)?;
    let length = reader.seek(SeekFrom::End(0))?;
    reader.rewind()?;
    Ok((head, length))
}

/// Whether a header has the checksum of a tar's: those before POSIX have nothing else to tell them by.
fn has_tar_checksum(head: &[u8]) -> bool {
    let Some(header) = head.get(..HEAD as usize).filter(|header| header[0] != 0) else { return false };
    let stored = std::str::from_utf8(&header[148..156]).unwrap_or_default();
    let stored = u32::from_str_radix(stored.trim_matches([' ', '\0']), 8);
    // Its own field counts as spaces.
    let sum = header[..148].iter().chain(&[b' '; 8]).chain(&header[156..]).map(|&byte| u32::from(byte)).sum();
    stored == Ok(sum)
}

/// Whether a file ends with the record and the comment that a zip ends with.
fn ends_as_zip(reader: &mut (impl Read + Seek), length: u64) -> IoResult<bool> {
    let mut tail = Vec::new();
    reader.seek(SeekFrom::Start(length.saturating_sub(ZIP_END_MOST)))?;
    reader.read_to_end(&mut tail)?;
    Ok((0..tail.len().saturating_sub(ZIP_END - 1)).any(|start| {
        let record = &tail[start..];
        let comment = usize::from(u16::from_le_bytes([record[20], record[21]]));
        record.starts_with(b"PK\x05\x06") && record.len() == ZIP_END + comment
    }))
}
