//! Zip, tar and tar.gz in, their files out one by one, with limits that stop decompression bombs.
//!
//! Nothing is written anywhere and a stored path is only ever a label, so a path like `../../etc`
//! does no harm. Links are left out. An archive within an archive is not opened: its bytes are a
//! file like any other, which no image decoder accepts.

use std::cell::Cell;
use std::io::{Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;
use tar::EntryType;
use zip::ZipArchive;

use crate::error::{Error, Result};

/// How much an archive may unpack to. Counted on the bytes really unpacked, whatever it declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links together.
    pub entries: u64,
    /// Bytes of one entry; in a tar with its header.
    pub entry_bytes: u64,
    /// Bytes of all entries together.
    pub total_bytes: u64,
    /// Unpacked bytes for each byte of the archive, once more than 16 MiB are unpacked.
    pub ratio: u64,
}

impl Default for Limits {
    /// Ample for sets of images: ODIN's largest has 10,000 of them in 1 GB, and PNG or JPEG files
    /// hardly shrink, so 200 to 1 is not reached by accident.
    fn default() -> Self {
        Self { entries: 2_000_000, entry_bytes: 256 << 20, total_bytes: 64 << 30, ratio: 200 }
    }
}

/// The kind of an archive, told by its first bytes.
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
    /// The format of a file that starts with `head`, of which 262 bytes suffice.
    pub fn detect(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if head.starts_with(&[0x1f, 0x8b]) {
            Some(Self::TarGz)
        } else if head.get(257..262) == Some(b"ustar") {
            Some(Self::Tar)
        } else {
            None
        }
    }
}

/// Calls `visit(label, bytes)` for every file in the archive, in stored order.
///
/// The archive is read once from front to back (a zip: by its directory), one file in memory at a
/// time. The label is the stored path with `/` between its parts and without a leading `./`. When
/// an error comes back, the files before the damage have been visited.
///
/// # Errors
/// [`Error::ArchiveFormat`], [`Error::Archive`], [`Error::Zip`] or [`Error::ArchiveLimit`].
pub fn for_each_file<R: Read + Seek>(mut reader: R, limits: &Limits, visit: impl FnMut(String, Vec<u8>)) -> Result<()> {
    let mut head = Vec::new();
    let length = (|| {
        reader.by_ref().take(262).read_to_end(&mut head)?;
        let length = reader.seek(SeekFrom::End(0))?;
        reader.rewind()?;
        Ok(length)
    })()
    .map_err(|source| Error::Archive { entries: 0, source })?;

    let meter = Meter::new(limits, length);
    match Format::detect(&head) {
        Some(Format::Zip) => read_zip(reader, &meter, visit),
        Some(Format::Tar) => read_tar(reader, &meter, visit),
        Some(Format::TarGz) => read_tar(MultiGzDecoder::new(reader), &meter, visit),
        None => {
            head.truncate(8);
            Err(Error::ArchiveFormat { head })
        }
    }
}

fn read_zip<R: Read + Seek>(reader: R, meter: &Meter, mut visit: impl FnMut(String, Vec<u8>)) -> Result<()> {
    let damaged = |source| Error::Zip { entries: meter.entries.get(), source };
    let mut archive = ZipArchive::new(reader).map_err(damaged)?;
    for index in 0..archive.len() {
        meter.start_entry();
        meter.count_entry()?;
        let mut entry = archive.by_index(index).map_err(damaged)?;
        if !entry.is_file() {
            continue;
        }
        let name = entry.name().map_err(damaged)?.into_owned();
        let mut bytes = Vec::new();
        meter.meter(&mut entry).read_to_end(&mut bytes).map_err(|source| meter.cause(source))?;
        visit(label(&name), bytes);
    }
    Ok(())
}

fn read_tar<R: Read>(reader: R, meter: &Meter, mut visit: impl FnMut(String, Vec<u8>)) -> Result<()> {
    let damaged = |source| meter.cause(source);
    // The stream itself is metered, so that long names and skipped entries count as well.
    let mut archive = tar::Archive::new(meter.meter(reader));
    let mut entries = archive.entries().map_err(damaged)?;
    loop {
        meter.start_entry();
        let Some(entry) = entries.next() else {
            return Ok(());
        };
        let mut entry = entry.map_err(damaged)?;
        meter.count_entry()?;
        // Links are not followed, and sparse files would unpack beyond what is metered.
        if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous) {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(damaged)?;
        if (bytes.len() as u64) < entry.size() {
            return Err(damaged(std::io::ErrorKind::UnexpectedEof.into()));
        }
        visit(label(&name), bytes);
    }
}

/// Whether the file of this name or path, or a folder on the way to it, is one that file managers leave behind.
pub fn is_hidden(path: &str) -> bool {
    path.split('/').any(|name| (name.starts_with('.') && name != "." && name != "..") || name == "__MACOSX")
}

/// `tar -C FOLDER .` stores paths as `./name`.
fn label(path: &str) -> String {
    let path = path.replace('\\', "/");
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}

/// Counts what is unpacked and stops at the limits.
struct Meter<'a> {
    limits: &'a Limits,
    /// Bytes that the ratio allows for this archive.
    ratio_bytes: u64,
    entries: Cell<u64>,
    entry_bytes: Cell<u64>,
    total_bytes: Cell<u64>,
    /// The limit that was hit, as what and how much.
    hit: Cell<Option<(&'static str, u64)>>,
}

impl<'a> Meter<'a> {
    /// Small archives of flat images may be any ratio up to here.
    const RATIO_GRACE: u64 = 16 << 20;

    fn new(limits: &'a Limits, archive_bytes: u64) -> Self {
        Self {
            limits,
            ratio_bytes: limits.ratio.saturating_mul(archive_bytes).max(Self::RATIO_GRACE),
            entries: Cell::new(0),
            entry_bytes: Cell::new(0),
            total_bytes: Cell::new(0),
            hit: Cell::new(None),
        }
    }

    /// Called before anything of an entry is read.
    fn start_entry(&self) {
        self.entry_bytes.set(0);
    }

    /// Called when there is another entry.
    fn count_entry(&self) -> Result<()> {
        if self.entries.get() == self.limits.entries {
            return Err(Error::ArchiveLimit { what: "entries", limit: self.limits.entries });
        }
        self.entries.set(self.entries.get() + 1);
        Ok(())
    }

    fn count(&self, bytes: u64) -> std::io::Result<()> {
        self.entry_bytes.set(self.entry_bytes.get() + bytes);
        self.total_bytes.set(self.total_bytes.get() + bytes);
        let total = self.total_bytes.get();
        let hit = [
            ("bytes in one entry", self.entry_bytes.get(), self.limits.entry_bytes),
            ("bytes in all", total, self.limits.total_bytes),
            ("bytes for an archive of its size", total, self.ratio_bytes),
        ]
        .into_iter()
        .find(|&(_, found, limit)| found > limit);
        match hit {
            None => Ok(()),
            Some((what, _, limit)) => {
                self.hit.set(Some((what, limit)));
                Err(std::io::Error::other("limit reached"))
            }
        }
    }

    fn meter<R: Read>(&self, inner: R) -> Metered<'_, R> {
        Metered { meter: self, inner }
    }

    /// The limit that was hit where there is one, else the damage.
    fn cause(&self, source: std::io::Error) -> Error {
        match self.hit.get() {
            Some((what, limit)) => Error::ArchiveLimit { what, limit },
            None => Error::Archive { entries: self.entries.get(), source },
        }
    }
}

struct Metered<'a, R> {
    meter: &'a Meter<'a>,
    inner: R,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.meter.count(read as u64)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use rand::{RngCore, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use std::io::{Cursor, Write};
    use zip::write::{SimpleFileOptions, ZipWriter};

    type Files = Vec<(String, Vec<u8>)>;

    fn read(bytes: &[u8], limits: &Limits) -> (Files, Result<()>) {
        let mut files = Files::new();
        let end = for_each_file(Cursor::new(bytes), limits, |name, bytes| files.push((name, bytes)));
        (files, end)
    }

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    /// The paths are stored as they are, also those that leave the folder.
    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            archive.append(&header, *bytes).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn each_format(files: &[(&str, &[u8])]) -> [(Format, Vec<u8>); 3] {
        let tar = tar(files);
        [(Format::Zip, zip(files)), (Format::TarGz, gzip(&tar)), (Format::Tar, tar)]
    }

    fn limited(found: &Result<()>, expected: &str) -> bool {
        matches!(found, Err(Error::ArchiveLimit { what, .. }) if *what == expected)
    }

    #[test]
    fn files_come_out_of_every_format_with_paths_as_labels() {
        let files: [(&str, &[u8]); 3] = [("b/2.png", b"two"), ("../../etc/passwd", b""), ("/1", b"one")];
        for (format, bytes) in each_format(&files) {
            assert_eq!(Format::detect(&bytes), Some(format));
            let (found, end) = read(&bytes, &Limits::default());
            end.unwrap();
            let expected = files.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
            assert_eq!(found, expected, "{format:?}");
        }
    }

    #[test]
    fn labels_do_not_depend_on_how_the_path_is_written() {
        for (_, bytes) in each_format(&[("./a/b.png", b""), ("a\\c.png", b"")]) {
            let labels: Vec<_> = read(&bytes, &Limits::default()).0.into_iter().map(|f| f.0).collect();
            assert_eq!(labels, ["a/b.png", "a/c.png"]);
        }
    }

    #[test]
    fn folders_and_links_are_left_out() {
        let mut archive = tar::Builder::new(Vec::new());
        for kind in [EntryType::Directory, EntryType::Symlink, EntryType::Link] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_path("name").unwrap();
            header.set_link_name("/etc/passwd").unwrap();
            header.set_size(0);
            header.set_cksum();
            archive.append(&header, std::io::empty()).unwrap();
        }
        let (files, end) = read(&archive.into_inner().unwrap(), &Limits::default());
        end.unwrap();
        assert!(files.is_empty());
    }

    #[test]
    fn nested_archive_is_not_opened() {
        let inner = zip(&[("a", b"a")]);
        let (files, end) = read(&zip(&[("inner.zip", &inner)]), &Limits::default());
        end.unwrap();
        assert_eq!(files, [("inner.zip".to_owned(), inner)]);
    }

    #[test]
    fn other_bytes_are_rejected_as_an_archive() {
        let end = read(b"GIF89a and so on", &Limits::default()).1;
        assert!(matches!(end, Err(Error::ArchiveFormat { head }) if head == b"GIF89a a"));
        assert!(matches!(read(b"", &Limits::default()).1, Err(Error::ArchiveFormat { .. })));
    }

    #[test]
    fn truncated_archive_is_rejected() {
        let mut noise = [0; 5000];
        ChaCha8Rng::seed_from_u64(0).fill_bytes(&mut noise);
        for (format, bytes) in each_format(&[("a", b"sound"), ("b", &noise)]) {
            let (files, end) = read(&bytes[..3000], &Limits::default());
            match format {
                Format::Zip => assert!(matches!(end, Err(Error::Zip { entries: 0, .. }))),
                Format::Tar | Format::TarGz => {
                    assert!(matches!(end, Err(Error::Archive { entries: 2, .. })));
                    assert_eq!(files, [("a".to_owned(), b"sound".to_vec())]);
                }
            }
        }
    }

    #[test]
    fn zip_entry_with_a_wrong_checksum_is_rejected() {
        let mut bytes = zip(&[("a", &[7; 100])]);
        let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        bytes[directory + 16] ^= 1;
        assert!(matches!(read(&bytes, &Limits::default()).1, Err(Error::Archive { .. })));
    }

    #[test]
    fn too_many_entries_are_rejected() {
        let limits = Limits { entries: 2, ..Limits::default() };
        for (format, bytes) in each_format(&[("a", b""), ("b", b""), ("c", b"")]) {
            assert!(limited(&read(&bytes, &limits).1, "entries"), "{format:?}");
        }
        for (format, bytes) in each_format(&[("a", b""), ("b", b"")]) {
            assert!(read(&bytes, &limits).1.is_ok(), "{format:?}");
        }
    }

    #[test]
    fn too_large_entry_is_rejected() {
        let limits = Limits { entry_bytes: 3000, ..Limits::default() };
        for (format, bytes) in each_format(&[("a", &[0; 1000]), ("b", &[0; 4000])]) {
            let (files, end) = read(&bytes, &limits);
            assert!(limited(&end, "bytes in one entry"), "{format:?}");
            assert_eq!(files.len(), 1);
        }
    }

    #[test]
    fn too_large_total_is_rejected() {
        let limits = Limits { total_bytes: 5000, ..Limits::default() };
        for (format, bytes) in each_format(&[("a", &[0; 3000]), ("b", &[0; 3000])]) {
            assert!(limited(&read(&bytes, &limits).1, "bytes in all"), "{format:?}");
        }
    }

    #[test]
    fn bomb_is_stopped_by_its_ratio() {
        let zeros = vec![0; 20 << 20];
        let tar = tar(&[("zeros", &zeros)]);
        for bytes in [zip(&[("zeros", &zeros)]), gzip(&tar)] {
            let (files, end) = read(&bytes, &Limits::default());
            assert!(limited(&end, "bytes for an archive of its size"));
            assert!(files.is_empty());
        }
        assert!(read(&tar, &Limits::default()).1.is_ok());
    }

    #[test]
    fn bomb_in_a_long_name_is_stopped() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(20 << 20);
        header.set_cksum();
        archive.append(&header, std::io::repeat(b'a').take(20 << 20)).unwrap();
        let end = read(&gzip(&archive.into_inner().unwrap()), &Limits::default()).1;
        assert!(limited(&end, "bytes for an archive of its size"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_rejected(start in 0_usize..4, tail: Vec<u8>) {
            let starts: [&[u8]; 4] = [b"PK\x03\x04", b"PK\x05\x06", &[0x1f, 0x8b, 8], b""];
            let _ = read(&[starts[start], &tail].concat(), &Limits::default());
        }

        #[test]
        fn damage_anywhere_is_survived(position in 0_usize..2000, value: u8) {
            for (_, mut bytes) in each_format(&[("a", &[1; 700]), ("b", b"text")]) {
                let position = position % bytes.len();
                bytes[position] = value;
                let _ = read(&bytes, &Limits::default());
            }
        }
    }
}
