//! Bad input: each kind is told in one line that names the file, what was expected and what was found, with exit code
//! 1, and nothing is left half written.

use std::fs;

use tempfile::TempDir;

use super::{
    pictures::{self, PIXELS, cifar10_files, cifar10_folder, class_folder, damaged_png, named, tar_gz},
    tool::{
        ELOC, Trained, eloc, evaluate, files, fold_files, manifest, path, refused, score, scratch, stdout, train,
        training_args,
    },
};

/// A training on `dataset` in `dir` is refused before it writes anything.
fn training_refused(dir: &TempDir, dataset: &str, parts: &[&str]) {
    let out = dir.path().join("run");
    refused(eloc().args(training_args(dataset, &out, &[("--data", path(dir.path())), ("--folds", "2")])), parts);
    assert!(!out.exists(), "a refused training made {}", out.display());
}

#[test]
fn truncated_cifar_file_is_refused() {
    let dir = scratch();
    let mut files = cifar10_files(1);
    files[2].1.pop();
    cifar10_folder(dir.path(), &files);
    let found = format!("found {} bytes", 10 * (PIXELS + 1) - 1);
    let parts = [path(dir.path()), "data_batch_3.bin", "expected one or more records of 3073 bytes", &found];
    training_refused(&dir, "cifar10", &parts);
    // Only where there is none does another set stand for it.
    training_refused(&dir, "auto", &parts);
}

#[test]
fn cifar_label_out_of_range_is_refused() {
    let dir = scratch();
    let mut files = cifar10_files(1);
    files[4].1[3 * (PIXELS + 1)] = 10;
    cifar10_folder(dir.path(), &files);
    let parts = [path(dir.path()), "data_batch_5.bin", "label of image 3: expected less than 10", "found 10"];
    training_refused(&dir, "cifar10", &parts);
}

#[test]
fn missing_cifar_file_is_refused() {
    let dir = scratch();
    cifar10_folder(dir.path(), &cifar10_files(1)[..5]);
    training_refused(&dir, "cifar10", &[path(dir.path()), "test_batch.bin"]);
}

#[test]
fn truncated_cifar_archive_is_refused() {
    let dir = scratch();
    let archive = dir.path().join("cifar-10-binary.tar.gz");
    let mut bytes = tar_gz(&cifar10_files(1));
    bytes.truncate(bytes.len() / 2);
    fs::write(&archive, bytes).unwrap();
    training_refused(&dir, "cifar10", &[path(&archive), "expected sound contents", "found damage after"]);
}

#[test]
fn damaged_image_in_a_labelled_folder_is_refused() {
    let dir = scratch();
    let images = dir.path().join("set");
    class_folder(&images, 4, 3);
    let file = images.join("class-2/01.png");
    fs::write(&file, damaged_png()).unwrap();
    training_refused(&dir, path(&images), &[path(&file), "expected a sound PNG"]);
}

#[test]
fn empty_folder_is_refused() {
    let dir = scratch();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let parts = [path(&empty), "expected a sub-folder of images for each class", "found none"];
    training_refused(&dir, path(&empty), &parts);
    let parts = [path(&empty), "expected at least one image", "found no file"];
    refused(&mut score(&Trained::shared().weights, &[&empty], &[]), &parts);
}

#[cfg(unix)]
#[test]
fn class_that_is_a_link_to_the_folder_around_it_is_refused() {
    let dir = scratch();
    let images = dir.path().join("set");
    class_folder(&images, 4, 3);
    std::os::unix::fs::symlink("../set", images.join("loop")).unwrap();
    let parts = [path(&images), "loop: expected a folder of images, found a link to one that it lies in"];
    training_refused(&dir, path(&images), &parts);
}

#[test]
fn files_that_are_left_out_are_told() {
    let dir = scratch();
    let (images, out) = (dir.path().join("set"), dir.path().join("run"));
    class_folder(&images, 4, 3);
    fs::rename(images.join("class-1/00.png"), images.join("class-1/00.jfif")).unwrap();
    fs::write(images.join("class-1/00.tiff"), b"").unwrap();
    fs::write(images.join("class-2/labels.csv"), b"").unwrap();
    let output = train(&images, &out, &[("--folds", "2"), ("--epochs", "1"), ("--fold", "1")]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "{}: 2 files without the extension of an image were left out, the first {}\n",
        path(&images),
        path(&images.join("class-1/00.tiff"))
    );
    assert_eq!(message, expected);
    // One of three images of each class is for testing.
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("set: 4 training images of 4 classes"));
}

#[test]
fn class_without_an_image_is_refused() {
    let dir = scratch();
    let images = dir.path().join("set");
    class_folder(&images, 4, 3);
    fs::create_dir(images.join("vacant")).unwrap();
    fs::write(images.join("vacant/notes.txt"), b"no image").unwrap();
    let parts = [path(&images), "class `vacant`", "expected at least one image", "found none"];
    training_refused(&dir, path(&images), &parts);
}

#[test]
fn class_of_one_image_is_refused() {
    let dir = scratch();
    let images = dir.path().join("set");
    class_folder(&images, 4, 3);
    let lonely = images.join("lonely");
    pictures::plain_folder(&lonely, 50, 1);
    training_refused(&dir, path(&images), &[path(&lonely), "expected at least 2 images", "found 1"]);
}

#[test]
fn data_set_that_is_not_there_is_refused() {
    let dir = scratch();
    training_refused(
        &dir,
        "cifra10",
        &["--dataset", "expected auto, cifar10, cifar100, shapes or a folder", "cifra10"],
    );
}

/// Both commands that read archives refuse one.
fn archive_refused(name: &str, bytes: &[u8], parts: &[&str]) {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let file = dir.path().join(name);
    fs::write(&file, bytes).unwrap();
    let parts = [&[path(&file)][..], parts].concat();
    refused(&mut score(weights, &[&file], &[]), &parts);
    refused(&mut evaluate(weights, images, dir.path(), &[path(&file)]), &parts);
}

#[test]
fn truncated_zip_is_refused() {
    let bytes = pictures::zip(&named(0, 4));
    archive_refused(
        "half.zip",
        &bytes[..bytes.len() / 2],
        &["zip archive: expected sound", "found damage after 0 entries"],
    );
}

#[test]
fn zip_with_damaged_contents_is_refused() {
    let mut bytes = pictures::zip(&named(0, 4));
    // In the deflated data of the first of four entries; the checksum of the entry is another then.
    let middle = bytes.len() / 8;
    bytes[middle] ^= 0xff;
    archive_refused("damaged.zip", &bytes, &["expected sound", "found damage after"]);
}

#[test]
fn truncated_tar_gz_is_refused() {
    let bytes = tar_gz(&named(0, 4));
    archive_refused(
        "half.tar.gz",
        &bytes[..bytes.len() / 2],
        &["archive: expected sound contents", "found damage after"],
    );
}

#[test]
fn archive_bomb_is_refused() {
    // 20 MiB of zeros shrink to a thousandth.
    let zeros = [("zeros.png".to_owned(), vec![0; 20 << 20])];
    let parts = ["expected bytes for an archive of its size of at most", "found more"];
    archive_refused("bomb.zip", &pictures::zip(&zeros), &parts);
    archive_refused("bomb.tar.gz", &tar_gz(&zeros), &parts);
}

#[test]
fn archive_without_images_is_refused() {
    let files = [("notes.txt".to_owned(), b"no image".to_vec())];
    let parts = ["expected at least one readable image", "notes.txt"];
    archive_refused("notes.zip", &pictures::zip(&files), &parts);
}

#[test]
fn loss_that_is_not_finite_is_refused() {
    let Trained { images, .. } = Trained::shared();
    let dir = scratch();
    let out = dir.path().join("run");
    let parts = [path(&out), "fold 1, epoch 1, step", "expected a finite loss", "lower learning rate"];
    refused(&mut train(images, &out, &[("--learning-rate", "1e30")]), &parts);
    assert!(files(&out).keys().all(|name| name == ".lock" || name == "manifest.json"), "{:?}", files(&out).keys());
}

/// A limit on the size of files stands for a disk that gets full in the middle of one: 4 or 8 KiB, by the shell, are
/// enough for the first manifest and too little for a checkpoint.
#[cfg(unix)]
#[test]
fn full_disk_leaves_nothing_half_written() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let out = dir.path().join("run");
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", r#"trap "" XFSZ; ulimit -f 8; exec "$0" "$@""#, ELOC]);
    limited.args(training_args(path(images), &out, &[]));
    refused(&mut limited, &[path(&out), "could not be written", "too large"]);

    let left: Vec<String> = files(&out).into_keys().collect();
    assert_eq!(left, [".lock", "manifest.json"]);
    assert_eq!(manifest(&out)["folds"], serde_json::json!([]));
    // With room again, the same command ends as if nothing had happened.
    stdout(&mut train(images, &out, &[]));
    assert!(fold_files(&out) == fold_files(weights));
}

#[test]
fn fold_file_that_cannot_be_written_is_not_in_the_manifest() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let blocked = dir.path().join("fold-2.safetensors");
    fs::create_dir(&blocked).unwrap();
    refused(&mut train(images, dir.path(), &[]), &[path(&blocked), "could not be written"]);
    assert_eq!(manifest(dir.path())["folds"].as_array().unwrap().len(), 1);
    assert!(files(dir.path()).keys().all(|name| !name.contains(".tmp")));

    fs::remove_dir(&blocked).unwrap();
    stdout(&mut train(images, dir.path(), &[]));
    assert!(fold_files(dir.path()) == fold_files(weights));
}

/// Below a regular file nobody can make a folder, not even who may write everywhere.
#[test]
fn folder_that_cannot_be_made_is_refused() {
    let Trained { images, .. } = Trained::shared();
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let out = file.join("run");
    refused(&mut train(images, &out, &[]), &[path(&out), "could not be made"]);
    assert!(fs::read(&file).unwrap().is_empty());
}

#[test]
fn misuse_has_exit_code_2() {
    for arguments in [
        &[][..],
        &["train", "--bogus"],
        &["train", "--network", "resnet-18"],
        &["train", "--device", "abacus"],
        &["train", "--epochs", "many"],
        &["fly"],
        &["score", "--weights", "somewhere"],
        &["evaluate", "--weights", "somewhere"],
        &["split"],
    ] {
        let output = eloc().args(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains("Usage") || message.contains("--help"), "{arguments:?}: {message}");
    }
    let output = eloc().args(["score", "-\u{1b}[31m.png"]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.lines().count() > 1 && !message.contains('\u{1b}'), "{message}");
}

#[test]
fn file_too_large_for_an_image_is_not_read() {
    let dir = scratch();
    pictures::plain_folder(dir.path(), 1, 1);
    fs::File::create(dir.path().join("disk.iso")).unwrap().set_len(300 << 20).unwrap();
    let output = score(&Trained::shared().weights, &[dir.path()], &[]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("disk.iso: image: expected a file of at most 268435456 bytes, found 314572800"),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn class_whose_name_is_not_unicode_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let dir = scratch();
    let images = dir.path().join("images");
    class_folder(&images, 2, 2);
    fs::create_dir(images.join(std::ffi::OsStr::from_bytes(b"caf\xe9"))).unwrap();
    training_refused(&dir, path(&images), &["images/caf", "expected a name in UTF-8"]);
}

#[test]
fn parts_without_a_test_set_are_not_taken_for_classes() {
    let dir = scratch();
    let images = dir.path().join("images");
    for part in ["train", "val"] {
        class_folder(&images.join(part), 2, 2);
    }
    training_refused(&dir, path(&images), &["images: expected train/ and test/", "found train/ and val/"]);
}

#[test]
fn archive_of_another_kind_is_refused() {
    archive_refused("set.tar.xz", b"\xfd7zXZ\0 and so on", &["archive: expected zip, tar or tar.gz, found xz"]);
    archive_refused("set.7z", b"7z\xbc\xaf\x27\x1c", &["archive: expected zip, tar or tar.gz, found 7z"]);
}

/// Nothing is computed, or the logits would be kept; nothing is left either.
#[test]
fn report_that_cannot_be_written_is_refused_at_once() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    for json in [dir.path().to_owned(), file.join("report.json")] {
        let parts = [path(&json), "could not be written"];
        let mut command = evaluate(weights, images, dir.path(), &["uniform:10"]);
        refused(command.args(["--json", path(&json)]), &parts);
        let mut command = eloc();
        command.args(["tune", "--device", "cpu", "--weights", path(weights), "--dataset", path(images)]);
        command.args(["--ood", "uniform:10", "--data", path(dir.path()), "--json", path(&json)]);
        refused(&mut command, &parts);
    }
    assert_eq!(files(dir.path()).into_keys().collect::<Vec<_>>(), ["file"]);
}

#[test]
fn python_version_of_cifar_is_named_before_a_download() {
    let dir = scratch();
    fs::create_dir(dir.path().join("cifar-10-batches-py")).unwrap();
    let out = dir.path().join("run");
    let args = training_args("cifar10", &out, &[("--data", path(dir.path())), ("--folds", "2")]);
    let output = eloc().args(args).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    let first = format!(
        "{}/cifar-10-batches-py: expected the binary version, cifar-10-binary.tar.gz or cifar-10-batches-bin beside it, \
         found the Python version",
        path(dir.path())
    );
    assert_eq!(message.lines().next(), Some(first.as_str()));
}
