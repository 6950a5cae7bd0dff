//! The files of a tar archive.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Error as IoError, ErrorKind, Read, Seek},
};

use tar::{Entry, EntryType};

use super::{
    meter::{Meter, Metered},
    names::label,
    sparse::Sparse,
};
use crate::error::{Error, Result};

/// The tar's bytes, which are counted as a whole, so that long names and skipped entries count as well.
type Tape<'a> = Metered<'a, Box<dyn Read + 'a>>;

/// Visits every file, whatever cannot be read with the reason, and last the hard links, for which the archive is read again.
///
/// `unpack` makes the tar's bytes of the archive's.
pub fn read<R: Read + Seek>(
    mut reader: R,
    unpack: impl for<'a> Fn(&'a mut R) -> Box<dyn Read + 'a>,
    meter: &Meter<'_>,
    mut visit: impl FnMut(String, Result<Vec<u8>>),
) -> Result<()> {
    // The number of each file's entry, and the labels of its hard links.
    let mut files: HashMap<String, u64> = HashMap::new();
    let mut links: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    each(unpack(&mut reader), meter, &mut |index, entry| {
        let kind = entry.header().entry_type();
        let sparse = Sparse::of(entry).map_err(|source| meter.cause(source))?;
        let name = sparse.as_ref().and_then(|sparse| sparse.name.clone()).unwrap_or(entry.path_bytes().into_owned());
        let label = text(&name);
        let target = || text(&entry.link_name_bytes().unwrap_or_default());
        let found = match kind {
            // Tars from before POSIX tell folders so.
            EntryType::Regular if name.ends_with(b"/") => return Ok(()),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let bytes = contents(entry, sparse, meter)?;
                files.insert(label.clone(), index);
                visit(label, Ok(bytes));
                return Ok(());
            }
            EntryType::Link => match files.get(&target()) {
                Some(&source) => {
                    files.insert(label.clone(), source);
                    links.entry(source).or_default().push(label);
                    return Ok(());
                }
                None => format!("a link to {}, which is not before it in the archive", target()),
            },
            EntryType::Symlink => format!("a symbolic link to {}", target()),
            EntryType::Char | EntryType::Block => "a device".to_owned(),
            EntryType::Fifo => "a pipe".to_owned(),
            // Headers, and GNU's folders and labels of volumes.
            EntryType::Directory | EntryType::XGlobalHeader | EntryType::XHeader => return Ok(()),
            other if [b'D', b'V'].contains(&other.as_byte()) => return Ok(()),
            other => format!("one of type {:?}", char::from(other.as_byte())),
        };
        visit(label, Err(Error::ArchiveEntry { found }));
        Ok(())
    })?;
    if links.is_empty() {
        return Ok(());
    }
    reader.rewind().map_err(|source| meter.cause(source))?;
    let meter = &meter.again();
    each(unpack(&mut reader), meter, &mut |index, entry| {
        let Some(labels) = links.remove(&index) else { return Ok(()) };
        let sparse = Sparse::of(entry).map_err(|source| meter.cause(source))?;
        let bytes = contents(entry, sparse, meter)?;
        for label in labels {
            meter.start_entry();
            meter.count(bytes.len() as u64).map_err(|source| meter.cause(source))?;
            visit(label, Ok(bytes.clone()));
        }
        Ok(())
    })
}

/// Calls `with` for each entry and its number.
fn each<'a>(
    tar: Box<dyn Read + 'a>,
    meter: &'a Meter<'a>,
    with: &mut dyn FnMut(u64, &mut Entry<'_, Tape<'a>>) -> Result<()>,
) -> Result<()> {
    let damaged = |source| meter.cause(source);
    let mut archive = tar::Archive::new(meter.meter(tar));
    let mut entries = archive.entries().map_err(damaged)?;
    loop {
        meter.start_entry();
        let Some(entry) = entries.next() else { return Ok(()) };
        let mut entry = entry.map_err(damaged)?;
        meter.count_entry()?;
        with(meter.entries(), &mut entry)?;
    }
}

/// The bytes of a file, with the holes of a sparse one.
fn contents(entry: &mut Entry<'_, Tape<'_>>, sparse: Option<Sparse>, meter: &Meter<'_>) -> Result<Vec<u8>> {
    let damaged = |source| meter.cause(source);
    if entry.header().entry_type() == EntryType::GNUSparse {
        // What is stored of it is counted as it is read.
        let stored = entry.header().entry_size().map_err(damaged)?;
        meter.count(entry.size().saturating_sub(stored)).map_err(damaged)?;
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(damaged)?;
    if (bytes.len() as u64) < entry.size() {
        return Err(damaged(ErrorKind::UnexpectedEof.into()));
    }
    let Some(sparse) = sparse else { return Ok(bytes) };
    meter.count(sparse.size.saturating_sub(bytes.len() as u64)).map_err(damaged)?;
    let wrong = || damaged(IoError::new(ErrorKind::InvalidData, "a sparse file whose map does not fit"));
    sparse.unfold(&bytes).ok_or_else(wrong)
}

/// The label for a stored name.
fn text(name: &[u8]) -> String {
    label(name, || name.escape_ascii().to_string())
}
