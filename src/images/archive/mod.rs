//! Zip, tar and tar.gz in, their files out one by one, with limits that stop decompression bombs.
//!
//! Nothing is written anywhere and a stored path is only ever a label, so a path like `../../etc` does no harm. A hard link
//! in a tar is its file once more. What is in an archive and not read, such as other links, comes out as an error with its
//! label. An archive within an archive is not opened: its bytes are a file like any other, which no image decoder accepts.

use std::io::{Read, Seek};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use meter::Meter;

pub use format::Format;
pub use meter::Limits;
pub use names::{is_hidden, is_system};

mod format;
mod in_tar;
mod in_zip;
mod meter;
mod names;
mod sparse;
#[cfg(test)]
mod tests;

/// Calls `visit(label, bytes)` for every file in the archive, in stored order, but for the hard links of a tar, which come
/// last.
///
/// The archive is read once from front to back (a zip: by its directory; a tar with hard links: twice), one file in memory
/// at a time. The label is the stored path with `/` between its parts and without a leading `./`. In place of the bytes of
/// what is not read comes an [`Error::ArchiveEntry`]; folders are passed over. When an error comes back, the files before
/// the damage have been visited.
///
/// # Errors
/// [`Error::ArchiveFormat`], [`Error::ArchiveKind`], [`Error::Archive`], [`Error::Zip`] or [`Error::ArchiveLimit`].
pub fn for_each_file<R: Read + Seek>(
    mut reader: R,
    limits: &Limits,
    visit: impl FnMut(String, Result<Vec<u8>>),
) -> Result<()> {
    let format = Format::of(&mut reader)?;
    let (head, length) = format::ends(&mut reader).map_err(|source| Error::Archive { entries: 0, source })?;
    let meter = Meter::new(limits, length);
    match format {
        Some(Format::Zip) => in_zip::read(reader, &meter, visit),
        Some(Format::Tar) => in_tar::read(reader, |reader| Box::new(reader), &meter, visit),
        Some(Format::TarGz) => in_tar::read(reader, |reader| Box::new(MultiGzDecoder::new(reader)), &meter, visit),
        None => Err(Error::ArchiveFormat { head: head[..head.len().min(8)].into() }),
    }
}
