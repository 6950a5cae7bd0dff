//! Dropped files in; decoded images, labels and the files of weights out.

use std::io::{self, Read, Seek, SeekFrom};

use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use web_sys::{Blob, FileReaderSync};

use super::js::{JsResult, message, sentence};
use crate::{
    error::Result,
    images::{
        archive::{self, Format, Limits, is_hidden, is_system},
        dataset::Cifar,
        image::{self, PIXELS},
    },
    weights::manifest::MANIFEST,
};

/// Bytes of a file that are read at once.
const CHUNK: u64 = 1 << 20;

/// Largest file that is read as a whole: an image, one of CIFAR's, or a fold.
const MAX_FILE: u64 = 256 << 20;

#[wasm_bindgen]
extern "C" {
    /// Functions that are told what a file holds.
    pub type Visitor;
    #[wasm_bindgen(method)]
    fn image(this: &Visitor, label: &str, pixels: Uint8Array, class_name: Option<&str>);
    #[wasm_bindgen(method)]
    fn weights(this: &Visitor, label: &str, bytes: Uint8Array);
    #[wasm_bindgen(method)]
    fn problem(this: &Visitor, label: &str, reason: &str);
}

/// Reads an image, a file of CIFAR's, an archive of such files, or a file of a weights folder, and tells `visitor`.
///
/// Reading blocks, so that an archive is never in memory as a whole; a worker may do that.
#[wasm_bindgen(js_name = readFile)]
pub fn read_file(file: Blob, name: &str, visitor: &Visitor) -> JsResult<()> {
    if name.split('/').any(is_system) {
        return Ok(());
    }
    let mut reader = BlobReader::new(file)?;
    let is_archive = !is_weights(name) && Format::of(&mut reader).map_err(sentence)?.is_some();
    if is_archive {
        return archive::for_each_file(reader, &Limits::default(), |label, bytes| {
            if is_hidden(&label) {
                return;
            }
            match bytes {
                Ok(bytes) => read_one(&label, &bytes, visitor),
                Err(error) => visitor.problem(&label, &message(error)),
            }
        })
        .map_err(sentence);
    }
    if reader.size > MAX_FILE {
        return Err(JsError::new(&format!("{name}: expected at most {MAX_FILE} bytes, found {}", reader.size)));
    }
    let mut bytes = Vec::with_capacity(reader.size as usize);
    reader.read_to_end(&mut bytes).map_err(|error| JsError::new(&format!("{name}: {error}")))?;
    read_one(name, &bytes, visitor);
    Ok(())
}

/// Tells `visitor` what one file or entry of an archive is.
fn read_one(label: &str, bytes: &[u8], visitor: &Visitor) {
    let mut path = label.rsplit('/');
    let (name, folder) = (path.next().unwrap_or(label), path.next());
    let told = if is_weights(label) {
        visitor.weights(label, bytes.into());
        Ok(())
    } else if ["data_batch_", "train.bin"].iter().any(|start| name.starts_with(start)) && name.ends_with(".bin") {
        visitor.problem(label, "These are training images; only CIFAR's test images are taken.");
        Ok(())
    } else if name.ends_with(".bin") {
        read_cifar(label, bytes, visitor)
    } else if Cifar::has_note(name) || is_of_a_training(name, folder) {
        Ok(())
    } else {
        image::decode(bytes).map(|image| visitor.image(label, image[..].into(), folder))
    };
    if let Err(error) = told {
        visitor.problem(label, &message(error));
    }
}

/// Whether a file is one of a weights folder's, by its name.
fn is_weights(label: &str) -> bool {
    let name = label.rsplit('/').next().unwrap_or(label);
    [MANIFEST, "results.json"].contains(&name)
        || [".safetensors", ".safetensors.gz"].iter().any(|end| name.ends_with(end))
}

/// Whether a file is of a training's course, by its name and folder: the page has no use for it.
fn is_of_a_training(name: &str, folder: Option<&str>) -> bool {
    let is_in = |wanted: &str| folder.is_some_and(|folder| folder.starts_with(wanted));
    name == "tuning.json"
        || is_in("logs") && [".jsonl", ".svg", ".txt"].iter().any(|end| name.ends_with(end))
        || is_in("epoch-") && (name.ends_with(".bpk") || name == "state.json")
}

/// A file of CIFAR-10's binary version or CIFAR-100's.
fn read_cifar(label: &str, bytes: &[u8], visitor: &Visitor) -> Result<()> {
    let (which, images, labels) = Cifar::read(label, bytes)?;
    let classes = which.classes();
    for (index, (image, class)) in images.chunks_exact(PIXELS).zip(labels).enumerate() {
        visitor.image(&format!("{label} {index}"), image.into(), Some(&classes[usize::from(class)]));
    }
    Ok(())
}

/// A file of the browser's, read a chunk at a time.
struct BlobReader {
    blob: Blob,
    size: u64,
    reader: FileReaderSync,
    position: u64,
    /// Bytes of the file from `chunk_start` on.
    chunk: Vec<u8>,
    chunk_start: u64,
}

impl BlobReader {
    fn new(blob: Blob) -> JsResult<Self> {
        let reader = FileReaderSync::new().map_err(|_| JsError::new("Files can be read in a worker only."))?;
        Ok(BlobReader { size: blob.size() as u64, blob, reader, position: 0, chunk: Vec::new(), chunk_start: 0 })
    }

    fn load(&mut self) -> io::Result<()> {
        let end = (self.position + CHUNK).min(self.size);
        let slice = self.blob.slice_with_f64_and_f64(self.position as f64, end as f64);
        let buffer = slice.and_then(|slice| self.reader.read_as_array_buffer(&slice));
        // The browser's reasons: the file was changed or removed, or may not be read.
        let buffer = buffer.map_err(|error| {
            let reason = error.dyn_ref().map(|error: &js_sys::Error| format!(": {}", error.message()));
            io::Error::other(format!("the file could not be read{}", reason.unwrap_or_default()))
        })?;
        self.chunk = Uint8Array::new(&buffer).to_vec();
        self.chunk_start = self.position;
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || out.is_empty() {
            return Ok(0);
        }
        if !(self.chunk_start..self.chunk_start + self.chunk.len() as u64).contains(&self.position) {
            self.load()?;
        }
        let loaded = &self.chunk[(self.position - self.chunk_start) as usize..];
        let length = loaded.len().min(out.len());
        out[..length].copy_from_slice(&loaded[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
