//! Images, folders and archives to feed the tool with, all of them functions of their arguments.

use std::{fs, io::Cursor, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use image::{ImageFormat, Rgb, RgbImage};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Bytes of an image in CIFAR's files.
pub const PIXELS: usize = 3 * 32 * 32;

/// Image `index` of `class`: a coarse pattern of the class with noise of its own.
pub fn picture(class: usize, index: usize) -> RgbImage {
    let mut pattern = ChaCha8Rng::seed_from_u64(class as u64);
    let cells: [[u8; 3]; 16] = std::array::from_fn(|_| std::array::from_fn(|_| pattern.random()));
    let mut noise = ChaCha8Rng::seed_from_u64(1_000_000 + 1_000 * class as u64 + index as u64);
    RgbImage::from_fn(32, 32, |x, y| {
        let cell = cells[(4 * (y / 8) + x / 8) as usize];
        Rgb(cell.map(|value| value.saturating_add(noise.random_range(0..60)).saturating_sub(30)))
    })
}

/// An image as PNG.
pub fn png_of(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Image `index` of `class` as PNG.
pub fn png(class: usize, index: usize) -> Vec<u8> {
    png_of(&picture(class, index))
}

/// A PNG that breaks off in the middle.
pub fn damaged_png() -> Vec<u8> {
    let mut bytes = png(0, 0);
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// Writes `count` images of each class as `folder/class-C/II.png`.
pub fn class_folder(folder: &Path, classes: usize, count: usize) {
    for class in 0..classes {
        plain_folder(&folder.join(format!("class-{class}")), class, count);
    }
}

/// Writes `count` images of `class` as `folder/II.png`.
pub fn plain_folder(folder: &Path, class: usize, count: usize) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in named(class, count) {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// `count` images of `class` with file names.
pub fn named(class: usize, count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|index| (format!("{index:02}.png"), png(class, index))).collect()
}

/// A zip of `files`.
pub fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A tar.gz of `files`.
pub fn tar_gz(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// CIFAR-10's files with `rounds` images of each class in each of them.
pub fn cifar10_files(rounds: usize) -> Vec<(String, Vec<u8>)> {
    let batches = (1..=5).map(|number| format!("data_batch_{number}.bin")).chain(["test_batch.bin".to_owned()]);
    batches.enumerate().map(|(part, name)| (name, cifar_records(10, part * rounds..(part + 1) * rounds, 1))).collect()
}

/// CIFAR-100's files with `rounds` images of each class in each of them.
pub fn cifar100_files(rounds: usize) -> Vec<(String, Vec<u8>)> {
    [("train.bin", 0..rounds), ("test.bin", rounds..2 * rounds)]
        .map(|(name, indices)| (name.to_owned(), cifar_records(100, indices, 2)))
        .into()
}

/// Writes CIFAR-10's files into the folder that its archive unpacks to.
pub fn cifar10_folder(data: &Path, files: &[(String, Vec<u8>)]) {
    let folder = data.join("cifar-10-batches-bin");
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Records of images `indices` of each class, with the label in the last of `label_bytes` bytes.
fn cifar_records(classes: usize, indices: std::ops::Range<usize>, label_bytes: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for index in indices {
        for class in 0..classes {
            records.resize(records.len() + label_bytes - 1, 0);
            records.push(class as u8);
            let image = picture(class, index);
            records.extend((0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel.0[channel])));
        }
    }
    records
}
