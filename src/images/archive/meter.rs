//! Limits that stop decompression bombs.

use std::cell::Cell;
use std::io::Read;

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

/// Counts what is unpacked and stops at the limits.
pub struct Meter<'a> {
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

    /// For an archive of `archive_bytes`.
    pub fn new(limits: &'a Limits, archive_bytes: u64) -> Self {
        Self {
            limits,
            ratio_bytes: limits.ratio.saturating_mul(archive_bytes).max(Self::RATIO_GRACE),
            entries: Cell::new(0),
            entry_bytes: Cell::new(0),
            total_bytes: Cell::new(0),
            hit: Cell::new(None),
        }
    }

    /// The same limits for reading the archive once more.
    pub fn again(&self) -> Self {
        Self { ratio_bytes: self.ratio_bytes, ..Self::new(self.limits, 0) }
    }

    /// Entries that were counted.
    pub fn entries(&self) -> u64 {
        self.entries.get()
    }

    /// Called before anything of an entry is read.
    pub fn start_entry(&self) {
        self.entry_bytes.set(0);
    }

    /// Called when there is another entry.
    pub fn count_entry(&self) -> Result<()> {
        if self.entries.get() == self.limits.entries {
            return Err(Error::ArchiveLimit { what: "entries", limit: self.limits.entries });
        }
        self.entries.set(self.entries.get() + 1);
        Ok(())
    }

    /// Called for unpacked bytes.
    pub fn count(&self, bytes: u64) -> std::io::Result<()> {
        self.entry_bytes.set(self.entry_bytes.get().saturating_add(bytes));
        self.total_bytes.set(self.total_bytes.get().saturating_add(bytes));
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

    /// Counts what is read of `inner`.
    pub fn meter<R: Read>(&self, inner: R) -> Metered<'_, R> {
        Metered { meter: self, inner }
    }

    /// The limit that was hit where there is one, else the damage.
    pub fn cause(&self, source: std::io::Error) -> Error {
        match self.hit.get() {
            Some((what, limit)) => Error::ArchiveLimit { what, limit },
            None => Error::Archive { entries: self.entries.get(), source },
        }
    }
}

/// Counts what is read.
pub struct Metered<'a, R> {
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
