//! Every kind of input that this room takes, sound and not.

use std::{
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Result;

use flate2::{Compression, write::GzEncoder};
use image::{Rgb, RgbImage};
use tempfile::{TempDir, tempdir};

use eloc::images::{
    dataset::Cifar,
    image::{PIXELS, SIDE},
    synthetic,
};

use super::{
    args::choose_data_dir,
    batches::batches,
    cifar::cifar,
    folder::image_folder,
    set::Generate,
    sets::{GENERATED_IMAGES, image_set},
};

/// A folder with these files, whose own folders are made as well.
fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let dir = tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// A PNG of one grey value.
fn png(value: u8) -> Vec<u8> {
    let image = RgbImage::from_pixel(SIDE as u32, SIDE as u32, Rgb([value; 3]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn tar_gz(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The grey value of each image.
fn greys(images: &[u8]) -> Vec<u8> {
    images.iter().step_by(PIXELS).copied().collect()
}

fn message<T>(result: Result<T>) -> String {
    format!("{:#}", result.err().expect("an error"))
}

fn assert_contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{message}` lacks `{part}`");
    }
}

/// A CIFAR file with one image of each class, of grey value `fill`.
fn cifar_file(label_bytes: usize, classes: u8, fill: u8) -> Vec<u8> {
    (0..classes).flat_map(|label| [vec![label; label_bytes], vec![fill; PIXELS]].concat()).collect()
}

fn cifar_10_files() -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "cifar-10-batches-bin/data_batch_1.bin",
        "cifar-10-batches-bin/data_batch_2.bin",
        "cifar-10-batches-bin/data_batch_3.bin",
        "cifar-10-batches-bin/data_batch_4.bin",
        "cifar-10-batches-bin/data_batch_5.bin",
        "cifar-10-batches-bin/test_batch.bin",
    ];
    (1..).zip(names).map(|(fill, name)| (name, cifar_file(1, 10, fill))).collect()
}

#[test]
fn data_folder_is_the_flag_then_the_variable_then_the_cache() {
    let flag = Some(Path::new("flag"));
    let (variable, cache) = (Some(OsString::from("variable")), Some(PathBuf::from("cache")));
    let choose = choose_data_dir;
    assert_eq!(choose(flag, variable.clone(), cache.clone()), Path::new("flag"));
    assert_eq!(choose(None, variable, cache.clone()), Path::new("variable"));
    assert_eq!(choose(None, Some("".into()), cache), Path::new("cache/eloc/data"));
    assert_eq!(choose(None, None, None), Path::new("data"));
}

#[test]
fn cifar_is_read_from_a_folder_and_from_its_archive() {
    let archive = folder(&[("cifar-10-binary.tar.gz", tar_gz(&cifar_10_files()))]);
    for dir in [folder(&cifar_10_files()), archive] {
        let (train, test) = cifar(dir.path(), Cifar::Ten).unwrap().unwrap();
        assert_eq!((train.len(), test.len()), (50, 10));
        assert_eq!((train.image(49)[0], test.image(0)[0]), (5, 6));
        assert_eq!(train.labels[..11], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
        assert!(cifar(dir.path(), Cifar::Hundred).unwrap().is_none());
    }

    let dir = folder(&[
        ("cifar-100-binary/train.bin", cifar_file(2, 100, 1)),
        ("cifar-100-binary/test.bin", cifar_file(2, 100, 2)),
    ]);
    let (train, test) = cifar(dir.path(), Cifar::Hundred).unwrap().unwrap();
    assert_eq!((train.len(), test.classes[99].as_str()), (100, "worm"));
}

#[test]
fn truncated_and_missing_cifar_files_are_named() {
    let mut files = cifar_10_files();
    files[2].1.pop();
    let found = message(cifar(folder(&files).path(), Cifar::Ten));
    assert_contains(&found, &["data_batch_3.bin", "records of 3073 bytes", "found 30729"]);

    let archive = tar_gz(&files[..1]);
    let dir = folder(&[("cifar-10-binary.tar.gz", archive.clone())]);
    let found = message(cifar(dir.path(), Cifar::Ten));
    assert_contains(&found, &["cifar-10-binary.tar.gz", "data_batch_2.bin", "not in the archive"]);

    let dir = folder(&[("cifar-10-binary.tar.gz", archive[..archive.len() / 2].to_vec())]);
    assert_contains(&message(cifar(dir.path(), Cifar::Ten)), &["cifar-10-binary.tar.gz", "damage"]);

    let dir = folder(&cifar_10_files()[..2]);
    assert_contains(&message(cifar(dir.path(), Cifar::Ten)), &["data_batch_3.bin"]);
}

#[test]
fn image_folder_with_train_and_test_is_read_in_name_order() {
    let dir = folder(&[
        ("train/dog/10.png", png(3)),
        ("train/dog/1.png", png(2)),
        ("train/cat/a.PNG", png(1)),
        ("train/cat/notes.txt", b"not an image".to_vec()),
        ("train/.hidden/a.png", png(9)),
        ("test/cat/a.png", png(4)),
        ("test/dog/deep/a.png", png(5)),
    ]);
    let (train, test) = image_folder(dir.path(), 0, 0.5).unwrap();
    assert_eq!(train.classes, ["cat", "dog"]);
    assert_eq!((greys(&train.images), train.labels), (vec![1, 2, 3], vec![0, 1, 1]));
    assert_eq!((greys(&test.images), test.labels), (vec![4, 5], vec![0, 1]));
}

#[test]
fn image_folder_without_test_images_holds_some_out() {
    let names: Vec<_> = (0..20).map(|i| format!("{}/{i:02}.png", ["a", "b"][i / 10])).collect();
    let files: Vec<_> = (0..).zip(&names).map(|(i, name)| (name.as_str(), png(i))).collect();
    let dir = folder(&files);
    let (train, test) = image_folder(dir.path(), 0, 0.2).unwrap();
    assert_eq!((train.len(), test.labels.clone()), (16, vec![0, 0, 1, 1]));
    assert_eq!(image_folder(dir.path(), 0, 0.2).unwrap(), (train, test.clone()));
    assert_ne!(image_folder(dir.path(), 1, 0.2).unwrap().1, test);
    assert_contains(&message(image_folder(dir.path(), 0, 1.0)), &["less than 1, found 1"]);
}

#[test]
fn unusable_image_folders_are_rejected() {
    type Case<'a> = (&'a [(&'a str, Vec<u8>)], &'a [&'a str]);
    let cases: [Case; 6] = [
        (&[], &["a sub-folder of images for each class, found none"]),
        (&[("a/1.png", png(1)), ("b/1.txt", vec![])], &["class `b`", "at least one image"]),
        (&[("a/1.png", png(1)), ("a/2.png", png(1)), ("b/1.png", png(1))], &["b: expected at least 2"]),
        (&[("a/1.png", png(1)), ("a/2.png", png(1)[..50].to_vec())], &["a/2.png", "image: expected"]),
        (
            &[("train/a/1.png", png(1)), ("test/a/1.png", png(1)), ("test/b/1.png", png(1))],
            &["test: expected a class of", "found `b`"],
        ),
        (
            &[("train/a/1.png", png(1)), ("train/b/1.png", png(1)), ("test/a/1.png", png(1))],
            &["test", "class `b`", "at least one image"],
        ),
    ];
    for (files, parts) in cases {
        let dir = folder(files);
        let found = message(image_folder(dir.path(), 0, 0.5));
        assert_contains(&found, parts);
        assert_contains(&found, &[&dir.path().display().to_string()]);
    }
    assert_contains(&message(image_folder(Path::new("no/such"), 0, 0.5)), &["no/such"]);
}

#[test]
fn image_set_is_the_same_from_a_folder_and_from_archives() {
    let files = [("b/10.png", png(3)), ("b/9.png", png(4)), ("a.png", png(1)), ("b/1.gif", b"GIF89a".to_vec())];
    let nested = folder(&files);
    let archives = folder(&[("set.zip", zip(&files)), ("set.tgz", tar_gz(&files))]);
    for path in [nested.path().to_owned(), archives.path().join("set.zip"), archives.path().join("set.tgz")] {
        let set = image_set(path.to_str().unwrap(), Path::new("no data"), 0).unwrap().load();
        assert_eq!(set.sources, ["a.png", "b/10.png", "b/9.png"]);
        assert_eq!(greys(&set.images), [1, 3, 4]);
        assert_eq!(set.name, path.file_name().unwrap().to_str().unwrap());
        assert_eq!((set.skipped.len(), set.skipped[0].0.as_str()), (1, "b/1.gif"));
        assert_contains(&set.skipped[0].1, &["image: expected"]);
    }
}

#[test]
fn image_sets_are_found_by_their_odin_names() {
    let dir = folder(&[
        ("Imagenet/test/0.png", png(1)),
        ("iSUN/iSUN/0.png", png(2)),
        ("flat/0.png", png(3)),
        ("LSUN.tar.gz", tar_gz(&[("LSUN/test/0.png", png(4))])),
        ("zipped.zip", zip(&[("0.png", png(5))])),
        ("one", png(6)),
    ]);
    for (name, value) in [("Imagenet", 1), ("iSUN", 2), ("flat", 3), ("LSUN", 4), ("zipped", 5), ("one", 6)] {
        let set = image_set(name, dir.path(), 0).unwrap().load();
        assert_eq!((set.name.as_str(), greys(&set.images)), (name, vec![value]));
    }
    let found = message(image_set("SVHN", dir.path(), 0));
    assert_contains(&found, &["`SVHN`", &dir.path().display().to_string()]);
}

#[test]
fn generated_sets_have_a_size_and_follow_the_seed() {
    let set = |name: &str| image_set(name, Path::new("no data"), 5).unwrap().load();
    assert_eq!(set("uniform").len(), GENERATED_IMAGES);
    for (name, generate) in [
        ("uniform", synthetic::uniform_noise as Generate),
        ("gaussian", synthetic::gaussian_noise),
        ("patterns", synthetic::patterns),
        ("fractals", synthetic::fractals),
    ] {
        assert_eq!(set(&format!("{name}:7")), generate(0..7, 5));
    }
    // As many of each class.
    assert_eq!(set("shapes:7"), synthetic::unlabelled_shapes(0..10, synthetic::SHAPES_TEST_SEED));
    for name in ["uniform:0", "uniform:", "patterns:many"] {
        assert_contains(&message(image_set(name, Path::new(""), 0)), &[name, "a number of images"]);
    }
}

#[test]
fn image_set_without_a_readable_image_is_rejected() {
    let empty = folder(&[(".hidden", png(1))]);
    let text = folder(&[("a.txt", b"text".to_vec()), ("b.txt", b"text".to_vec())]);
    for (dir, part) in [(&empty, "found no file"), (&text, "found 2 other files")] {
        let path = dir.path().display().to_string();
        assert_contains(&message(image_set(&path, Path::new(""), 0)), &[&path, part]);
    }
}

#[test]
fn cifar_files_are_images_wherever_they_are() {
    let files = [
        ("a/test_batch.bin", cifar_file(1, 10, 7)),
        ("a/batches.meta.txt", b"airplane".to_vec()),
        ("a/readme.html", b"<html>".to_vec()),
        ("test.bin", cifar_file(2, 100, 8)),
        ("train.bin", cifar_file(2, 100, 9)[1..].to_vec()),
        ("b.png", png(1)),
    ];
    let archives = folder(&[("set.zip", zip(&files)), ("set.tgz", tar_gz(&files))]);
    let unpacked = folder(&files);
    for path in [unpacked.path().to_owned(), archives.path().join("set.zip"), archives.path().join("set.tgz")] {
        let set = image_set(&path, Path::new("no data"), 0).unwrap().load();
        assert_eq!(set.len(), 111);
        assert_eq!((set.sources[9].as_str(), set.sources[10].as_str()), ("a/test_batch.bin 9", "b.png"));
        assert_eq!((set.sources[11].as_str(), set.sources[110].as_str()), ("test.bin 0", "test.bin 99"));
        assert_eq!(greys(&set.images), [vec![7; 10], vec![1], vec![8; 100]].concat());
        assert_eq!((set.skipped.len(), set.skipped[0].0.as_str()), (1, "train.bin"));
        assert_contains(&set.skipped[0].1, &["CIFAR file: expected one or more records of 3074 bytes"]);
    }
}

#[test]
fn what_systems_leave_behind_is_no_image_and_no_class() {
    let files = [
        ("cat/0.png", png(1)),
        ("cat/1.png", png(2)),
        ("cat/Thumbs.db", b"".to_vec()),
        ("cat/Desktop.ini", b"".to_vec()),
        ("cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.png", png(9)),
        ("dog/0.png", png(3)),
        ("dog/1.png", png(4)),
        ("$RECYCLE.BIN/$R1.png", png(9)),
        ("System Volume Information/tracking.log", b"".to_vec()),
        ("lost+found/#1.png", png(9)),
    ];
    let dir = folder(&files);
    let set = image_set(dir.path(), Path::new("no data"), 0).unwrap().load();
    assert_eq!((greys(&set.images), set.skipped), (vec![1, 2, 3, 4], vec![]));
    assert_eq!(image_folder(dir.path(), 0, 0.5).unwrap().0.classes, ["cat", "dog"]);
}

#[test]
fn python_version_of_cifar_is_told_from_the_binary_one() {
    let dir = folder(&[("cifar-10-batches-py/data_batch_1", b"".to_vec())]);
    let found = message(image_set("cifar10", dir.path(), 0));
    assert_contains(&found, &["cifar-10-batches-py: expected the binary version, cifar-10-binary.tar.gz"]);
    assert!(!message(image_set("cifar100", dir.path(), 0)).contains("Python"));
}

#[test]
fn archive_of_another_kind_is_refused_by_name() {
    let dir = folder(&[("set.zip", b"\xfd7zXZ\0...".to_vec())]);
    assert_contains(&message(image_set("set", dir.path(), 0)), &["expected zip, tar or tar.gz, found xz"]);
}

#[cfg(unix)]
#[test]
fn set_whose_path_is_not_unicode_is_read() {
    use std::os::unix::ffi::OsStrExt;
    let dir = folder(&[("a.png", png(1))]);
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&path).unwrap();
    fs::rename(dir.path().join("a.png"), path.join("a.png")).unwrap();
    assert_eq!(image_set(&path, Path::new("no data"), 0).unwrap().load().name, "caf\u{fffd}");
}

#[test]
fn damaged_archive_is_rejected_as_a_set() {
    let bytes = tar_gz(&[("a.png", png(1)), ("b.png", png(2))]);
    let dir = folder(&[("set.tar.gz", bytes[..bytes.len() - 20].to_vec())]);
    let found = message(image_set("set", dir.path(), 0));
    assert_contains(&found, &["set.tar.gz", "archive: expected sound contents, found damage"]);
}

/// The sources of the batches of what is at `paths` in `dir`, `size` at a time, and of what cannot be read the reason.
fn batched(dir: &Path, paths: &[&str], size: usize) -> Vec<Result<Vec<String>, String>> {
    let paths = paths.iter().map(|path| dir.join(path)).collect();
    let short = |text: &str| text.replace(&format!("{}/", dir.display()), "");
    let batches = batches(paths, size).map(|batch| match batch {
        Ok(batch) => {
            assert_eq!(batch.images.len(), batch.sources.len() * PIXELS);
            Ok(batch.sources.iter().map(|source| short(source)).collect())
        }
        Err(error) => Err(short(&format!("{error:#}"))),
    });
    batches.collect()
}

#[test]
fn files_folders_and_archives_share_batches() {
    let inner = [("b.png", png(5)), ("a.png", png(4))];
    let dir = folder(&[
        ("1.png", png(1)),
        ("f/c/2.png", png(3)),
        ("f/1.png", png(2)),
        ("f/readme.html", b"<html>".to_vec()),
        ("set.zip", zip(&inner)),
        ("test_batch.bin", cifar_file(1, 3, 7)),
    ]);
    let paths = ["set.zip", "1.png", "f", "1.png", "test_batch.bin"];
    let sources: Vec<_> = batched(dir.path(), &paths, 4).into_iter().map(Result::unwrap).collect();
    assert_eq!(sources[0], ["set.zip/a.png", "set.zip/b.png", "1.png", "f/1.png"]);
    assert_eq!(sources[1], ["f/c/2.png", "1.png", "test_batch.bin 0", "test_batch.bin 1"]);
    assert_eq!(sources[2..], [["test_batch.bin 2"]]);
    let all = batches(paths.map(|path| dir.path().join(path)).into(), 100).next().unwrap().unwrap();
    assert_eq!(greys(&all.images), [4, 5, 1, 2, 3, 1, 7, 7, 7]);
    assert_eq!(batched(dir.path(), &[], 4), []);
}

#[test]
fn what_cannot_be_read_does_not_break_a_batch() {
    let dir = folder(&[
        ("1.png", png(1)),
        ("bad.png", b"no image".to_vec()),
        ("f/1.png", png(2)),
        ("f/2.png", b"no image".to_vec()),
        ("f/3.png", png(3)),
        ("empty.zip", zip(&[("a.txt", b"text".to_vec()), ("b.txt", b"text".to_vec())])),
        ("damaged.zip", zip(&[("a.png", png(1))])[..50].to_vec()),
        ("none/a.txt", b"text".to_vec()),
        ("none/b.txt", b"text".to_vec()),
    ]);
    let paths = ["1.png", "bad.png", "f", "gone.png", "empty.zip", "damaged.zip", "none", "f/1.png", "1.png"];
    let found = batched(dir.path(), &paths, 4);
    let parts = [
        "bad.png: expected at least one readable image, found `bad.png`: image: expected",
        "f/2.png: image: expected",
        "gone.png: expected an image, a folder or an archive, found nothing",
        "empty.zip: expected at least one readable image, found 2 other files",
        "damaged.zip: zip archive: expected sound",
        "none: expected at least one readable image, found 2 other files",
    ];
    for (found, part) in found.iter().zip(parts) {
        let found = found.as_ref().unwrap_err();
        assert!(found.contains(part), "{found}, {part}");
    }
    let images: Vec<_> = found[parts.len()..].iter().map(|batch| batch.as_ref().unwrap().join(" ")).collect();
    assert_eq!(images, ["1.png f/1.png f/3.png f/1.png", "1.png"]);
}

/// More files than are read ahead of time.
#[test]
fn a_thousand_files_stay_in_order() {
    let names: Vec<String> = (0..1000).rev().map(|index| format!("{index}.png")).collect();
    let files: Vec<(&str, Vec<u8>)> = names.iter().zip(0..).map(|(name, i)| (name.as_str(), png(i as u8))).collect();
    let dir = folder(&files);
    let paths: Vec<&str> = names.iter().map(String::as_str).collect();
    let batches = batched(dir.path(), &paths, 300);
    assert_eq!(batches.iter().map(|batch| batch.as_ref().unwrap().len()).collect::<Vec<_>>(), [300, 300, 300, 100]);
    assert!(batches.into_iter().flat_map(Result::unwrap).eq(names));
}
