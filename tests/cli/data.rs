//! Where `eloc train` finds its images: by name, in CIFAR's layouts, in folders, or nowhere.

use std::fs;

use super::{
    pictures::{cifar10_files, cifar10_folder, cifar100_files, class_folder, plain_folder, tar_gz},
    tool::{NO_MIRROR, eloc, evaluate, files, json, manifest, path, refused, scratch, stdout, training_args},
};

#[test]
fn cifar10_that_cannot_be_fetched_is_an_error() {
    let dir = scratch();
    let (data, out) = (dir.path().join("data"), dir.path().join("run"));
    let args = training_args("cifar10", &out, &[("--data", path(&data))]);
    let parts = [NO_MIRROR, "cifar-10-binary.tar.gz", path(&data)];
    refused(eloc().args(args), &parts);
    assert!(!out.exists() && files(&data).is_empty());
}

#[test]
fn auto_without_cifar10_says_so_in_two_lines_and_trains_on_shapes() {
    let dir = scratch();
    let (data, out) = (dir.path().join("data"), dir.path().join("run"));
    // Most of the 10,000 images are held out, and few make the statistics, so that one epoch takes seconds.
    let settings = [
        ("--data", path(&data)),
        ("--epochs", "1"),
        ("--fold", "1"),
        ("--folds", "5"),
        ("--batch", "100"),
        ("--hold-out", "0.8"),
        ("--statistics-images", "250"),
    ];
    let printed = stdout(eloc().args(training_args("auto", &out, &settings)));
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].contains("CIFAR-10") && lines[0].contains(NO_MIRROR), "{printed}");
    assert!(lines[1].contains("cifar-10-binary.tar.gz") && lines[1].contains(path(&data)), "{printed}");
    assert!(lines[1].contains("shapes"), "{printed}");
    assert!(lines[2].starts_with("shapes: ") && lines[2].contains("10 classes"), "{printed}");
    let manifest = manifest(&out);
    assert_eq!((&manifest["dataset"], &manifest["classes"].as_array().unwrap().len()), (&"shapes".into(), &10));
}

/// Folder and archive hold the same images, so they give the same hash of them.
#[test]
fn cifar10_is_read_from_its_folder_and_from_its_archive() {
    let dir = scratch();
    let trained_on = |kind: &str, dataset: &str| {
        let (data, out) = (dir.path().join(kind), dir.path().join(format!("run-{kind}")));
        fs::create_dir_all(&data).unwrap();
        match kind {
            "folder" => cifar10_folder(&data, &cifar10_files(1)),
            _ => fs::write(data.join("cifar-10-binary.tar.gz"), tar_gz(&cifar10_files(1))).unwrap(),
        }
        let settings = [("--data", path(&data)), ("--epochs", "1"), ("--fold", "1"), ("--folds", "5")];
        let printed = stdout(eloc().args(training_args(dataset, &out, &settings)));
        // Five files with an image of each class, of which one is held out.
        assert!(printed.starts_with("cifar10: 40 training images of 10 classes"), "{printed}");
        manifest(&out)
    };
    let (folder, archive) = (trained_on("folder", "cifar10"), trained_on("archive", "auto"));
    assert_eq!(folder["classes"][9], "truck");
    assert_eq!(folder["folds"][0]["left_out"], serde_json::json!([5, 4]));
    assert_eq!(folder["images_sha256"], archive["images_sha256"]);
}

#[test]
fn cifar100_is_read_with_its_fine_labels() {
    let dir = scratch();
    let (data, out) = (dir.path().join("data"), dir.path().join("run"));
    fs::create_dir_all(&data).unwrap();
    let named: Vec<(String, Vec<u8>)> =
        cifar100_files(2).into_iter().map(|(name, bytes)| (format!("cifar-100-binary/{name}"), bytes)).collect();
    fs::write(data.join("cifar-100-binary.tar.gz"), tar_gz(&named)).unwrap();
    let settings = [("--data", path(&data)), ("--epochs", "1"), ("--fold", "5"), ("--folds", "5"), ("--batch", "40")];
    let output = eloc().args(training_args("cifar100", &out, &settings)).output().unwrap();
    let [printed, warning] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(printed.starts_with("cifar100: 100 training images of 100 classes"), "{printed}");
    assert!(warning.contains(path(&data)) && warning.contains("not have the published images and labels"), "{warning}");
    let manifest = manifest(&out);
    assert_eq!(manifest["classes"][19], "cattle");
    assert_eq!(manifest["folds"][0]["left_out"][19], 24);
}

#[test]
fn folder_with_train_and_test_is_split_as_given() {
    let dir = scratch();
    let (images, out) = (dir.path().join("set"), dir.path().join("run"));
    class_folder(&images.join("train"), 4, 6);
    class_folder(&images.join("test"), 4, 3);
    let settings = [("--epochs", "1"), ("--folds", "2"), ("--data", path(dir.path()))];
    let printed = stdout(eloc().args(training_args(path(&images), &out, &settings)));
    assert!(printed.starts_with("set: 20 training images of 4 classes"), "{printed}");
    let report = dir.path().join("report.json");
    stdout(evaluate(&out, &images, dir.path(), &["uniform:5"]).args(["--json", path(&report)]));
    assert_eq!(json(&report)["id"]["images"], 12);
}

#[test]
fn folds_need_not_divide_the_classes() {
    let dir = scratch();
    let (images, out) = (dir.path().join("set"), dir.path().join("run"));
    class_folder(&images, 5, 5);
    stdout(eloc().args(training_args(path(&images), &out, &[("--epochs", "1"), ("--folds", "3")])));
    let folds = manifest(&out)["folds"].as_array().unwrap().clone();
    let sizes: Vec<usize> = folds.iter().map(|fold| fold["left_out"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [1, 2, 2]);
}

#[test]
fn data_that_cannot_be_fetched_is_an_error() {
    let dir = scratch();
    let fetch = |name: &str| {
        let mut command = eloc();
        command.args(["data", name, "--mirror", NO_MIRROR, "--data", path(dir.path())]);
        command
    };
    refused(&mut fetch("cifar100"), &[NO_MIRROR, "cifar-100-binary.tar.gz", path(dir.path())]);
    refused(&mut fetch("cifar11"), &["expected one of cifar10, cifar100, Imagenet", "found `cifar11`"]);
    assert!(files(dir.path()).is_empty());
}

#[test]
fn sets_that_are_there_unpacked_are_not_fetched() {
    let dir = scratch();
    let fetch = |name: &str| {
        let mut command = eloc();
        command.args(["data", name, "--mirror", NO_MIRROR, "--data", path(dir.path())]);
        command
    };
    let [cifar, test] = ["cifar-10-batches-bin", "iSUN/test"].map(|folder| dir.path().join(folder));
    fs::create_dir(&cifar).unwrap();
    refused(&mut fetch("cifar10"), &[path(&cifar), "data_batch_1.bin"]);
    plain_folder(&test, 100, 1);
    for index in 1..8925 {
        fs::hard_link(test.join("00.png"), test.join(format!("{index}.png"))).unwrap();
    }
    assert_eq!(stdout(&mut fetch("iSUN")), format!("iSUN: {}\n", path(&dir.path().join("iSUN"))));
    fs::remove_file(test.join("1.png")).unwrap();
    refused(&mut fetch("iSUN"), &["iSUN: expected 8925 images to score, found 8924"]);
}

/// A file of that name that is not the published one is kept, since it may be the user's own.
#[test]
fn archive_that_is_not_the_published_one_is_not_passed_for_it() {
    let dir = scratch();
    let file = dir.path().join("cifar-10-binary.tar.gz");
    fs::write(&file, b"something else").unwrap();
    let mut command = eloc();
    command.args(["data", "cifar10", "--mirror", NO_MIRROR, "--data", path(dir.path())]);
    refused(&mut command, &[path(&file), "MD5: expected c32a1d4ab5d03f1284b67883e8d87530", "found "]);
    assert_eq!(fs::read(&file).unwrap(), b"something else");
}
