//! The files of a zip archive.

use std::{
    collections::HashSet,
    io::{Read, Seek, SeekFrom},
};

use zip::{CompressionMethod, ZipArchive, read::ZipFileEntry, result::ZipError};

use super::{meter::Meter, names::label};
use crate::error::{Error, Result};

/// Visits every file by the archive's directory, whatever cannot be read with the reason.
pub fn read<R: Read + Seek>(
    reader: R,
    meter: &Meter<'_>,
    mut visit: impl FnMut(String, Result<Vec<u8>>),
) -> Result<()> {
    let damaged = |source| Error::Zip { entries: meter.entries(), source };
    let mut archive = ZipArchive::new(reader).map_err(damaged)?;
    for index in 0..archive.len() {
        meter.start_entry();
        meter.count_entry()?;
        let entry = archive.by_index_data(index).map_err(damaged)?;
        if is_folder(entry.name_raw()) {
            continue;
        }
        let name = entry.name().map_err(damaged)?.into_owned();
        let label = label(entry.name_raw(), || name);
        if let Some(found) = left_out(&entry) {
            visit(label, Err(Error::ArchiveEntry { found }));
            continue;
        }
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let mut bytes = Vec::new();
        meter.meter(&mut entry).read_to_end(&mut bytes).map_err(|source| meter.cause(source))?;
        visit(label, Ok(bytes));
    }
    if !archive.has_duplicate_names() {
        return Ok(());
    }
    for name in overwritten(archive).map_err(|error| damaged(ZipError::Io(error)))? {
        meter.count_entry()?;
        let found = "one of several files of this name, of which the last is read".to_owned();
        visit(label(&name, || name.escape_ascii().to_string()), Err(Error::ArchiveEntry { found }));
    }
    Ok(())
}

/// Folders end in a slash, which some Windows programs write as a backslash.
fn is_folder(name: &[u8]) -> bool {
    name.ends_with(b"/") || name.ends_with(b"\\") && std::str::from_utf8(name).is_ok()
}

/// What an entry is that is no file which can be read.
fn left_out(entry: &ZipFileEntry<'_>) -> Option<String> {
    const KIND: u32 = 0o170000;
    match entry.unix_mode().map_or(0, |mode| mode & KIND) {
        // Some programs store no kind, or a folder's for an entry with contents.
        0 | 0o100000 | 0o040000 => {}
        0o120000 => return Some("a symbolic link".to_owned()),
        _ => return Some("a device, a pipe or a socket".to_owned()),
    }
    if entry.encrypted() {
        return Some("an encrypted one".to_owned());
    }
    let method = entry.compression();
    (!matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated)).then(|| {
        #[expect(deprecated, reason = "a number that has no name here names a method all the same")]
        let number = method.to_u16();
        let name = match number {
            1 => "Shrink",
            2..=5 => "Reduce",
            6 => "Implode",
            9 => "Deflate64",
            12 => "BZip2",
            14 => "LZMA",
            20 | 93 => "Zstandard",
            95 => "XZ",
            96 => "JPEG",
            98 => "PPMd",
            _ => "another method",
        };
        format!("one compressed with {name} (method {number}), not stored or deflated")
    })
}

/// The names of the entries that another of the same name takes the place of, once for each.
fn overwritten<R: Read + Seek>(archive: ZipArchive<R>) -> std::io::Result<Vec<Vec<u8>>> {
    let start = archive.central_directory_start();
    let mut reader = archive.into_inner();
    reader.seek(SeekFrom::Start(start))?;
    let (mut seen, mut again) = (HashSet::new(), Vec::new());
    loop {
        let (mut signature, mut header) = ([0; 4], [0; 42]);
        reader.read_exact(&mut signature)?;
        if signature != *b"PK\x01\x02" {
            return Ok(again);
        }
        reader.read_exact(&mut header)?;
        let length = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let mut name = vec![0; usize::from(length(24))];
        reader.read_exact(&mut name)?;
        reader.seek_relative(i64::from(length(26)) + i64::from(length(28)))?;
        if !seen.insert(name.clone()) {
            again.push(name);
        }
    }
}
