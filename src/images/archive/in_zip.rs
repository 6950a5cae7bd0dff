//! The files of a zip archive.

use std::{
    collections::HashMap,
    io::{Read, Seek, SeekFrom},
};

use zip::{
    CompressionMethod, ZipArchive,
    read::{ZipFileEntry, ZipReadOptions, read_zipfile_from_stream_with_options},
    result::ZipError,
};

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
    if archive.has_duplicate_names() {
        let (offset, directory) = (archive.offset(), archive.central_directory_start());
        read_overwritten(archive.into_inner(), offset, directory, meter, visit)?;
    }
    Ok(())
}

/// Visits the files that others of the same name follow in the `directory` of an archive that starts at `offset`.
fn read_overwritten<R: Read + Seek>(
    mut reader: R,
    offset: u64,
    directory: u64,
    meter: &Meter<'_>,
    mut visit: impl FnMut(String, Result<Vec<u8>>),
) -> Result<()> {
    let damaged = |source| Error::Zip { entries: meter.entries(), source };
    for earlier in overwritten(&mut reader, directory).map_err(|error| damaged(ZipError::Io(error)))? {
        meter.start_entry();
        meter.count_entry()?;
        reader.seek(SeekFrom::Start(offset + earlier.start)).map_err(|error| damaged(ZipError::Io(error)))?;
        let options = ZipReadOptions::new()
            .override_compressed_size(earlier.compressed)
            .override_uncompressed_size(earlier.size)
            .override_crc(earlier.checksum);
        let found = read_zipfile_from_stream_with_options(&mut reader, options).ok().flatten();
        let found = found.ok_or("one of several files of this name, of which the last can be read".to_owned());
        let found = found.and_then(|entry| left_out(&entry.entry()).map_or(Ok(()), Err).map(|()| entry));
        match found {
            Ok(mut entry) => {
                let name = entry.name().map_err(damaged)?.into_owned();
                let mut bytes = Vec::new();
                meter.meter(&mut entry).read_to_end(&mut bytes).map_err(|source| meter.cause(source))?;
                visit(label(&earlier.name, || name), Ok(bytes));
            }
            Err(found) => {
                let label = label(&earlier.name, || earlier.name.escape_ascii().to_string());
                visit(label, Err(Error::ArchiveEntry { found }));
            }
        }
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

/// An entry by the archive's directory.
struct Earlier {
    name: Vec<u8>,
    /// Where it starts, from the start of the archive.
    start: u64,
    compressed: u64,
    size: u64,
    checksum: u32,
}

/// The files that others of the same name follow in the directory at `start`, of which the library keeps the last only.
fn overwritten(reader: &mut (impl Read + Seek), start: u64) -> std::io::Result<Vec<Earlier>> {
    reader.seek(SeekFrom::Start(start))?;
    let (mut last, mut overwritten) = (HashMap::new(), Vec::new());
    loop {
        let (mut signature, mut header) = ([0; 4], [0; 42]);
        reader.read_exact(&mut signature)?;
        if signature != *b"PK\x01\x02" {
            return Ok(overwritten);
        }
        reader.read_exact(&mut header)?;
        let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let long = |at: usize| u32::from(short(at)) | u32::from(short(at + 2)) << 16;
        let mut name = vec![0; usize::from(short(24))];
        reader.read_exact(&mut name)?;
        reader.seek_relative(i64::from(short(26)) + i64::from(short(28)))?;
        let (checksum, compressed, size, start) = (long(12), long(16).into(), long(20).into(), long(38).into());
        let entry = Earlier { name: name.clone(), start, compressed, size, checksum };
        overwritten.extend(last.insert(name, entry).filter(|earlier: &Earlier| !is_folder(&earlier.name)));
    }
}
