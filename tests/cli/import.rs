//! `eloc import`: the golden checkpoints of tests/golden/pytorch.py, and what may be wrong with such files.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use flate2::read::GzDecoder;
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

use super::tool::{Trained, eloc, evaluate, json_lines, manifest, path, refused, score, scratch, stdout, train};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pytorch").join(name)
}

fn import(source: &Path, out: &Path) -> Command {
    let mut command = eloc();
    command.args(["import", path(source), "--out", path(out)]);
    command
}

/// The checkpoints of cifar10_dense as a folder that a test may change.
fn unpacked() -> (TempDir, PathBuf) {
    let dir = scratch();
    let folder = dir.path().join("checkpoints");
    tar::Archive::new(GzDecoder::new(File::open(golden("cifar10_dense.tar.gz")).unwrap())).unpack(&folder).unwrap();
    (dir, folder)
}

/// The folder is refused, and no weights are there afterwards.
fn import_refused(source: &Path, parts: &[&str]) {
    let out = scratch();
    let out = out.path().join("weights");
    refused(&mut import(source, &out), parts);
    assert!(!out.join("manifest.json").exists());
}

#[test]
fn archives_of_both_formats_become_weights_that_score() {
    for (set, dataset, network) in
        [("cifar10_dense", "cifar10", "densenet-bc-10-4"), ("cifar100_wide", "cifar100", "wrn-10-1")]
    {
        let dir = scratch();
        let out = dir.path().join("weights");
        let printed = stdout(&mut import(&golden(&format!("{set}.tar.gz")), &out));
        assert_eq!(printed.matches(&format!("{network} of ")).count(), 5, "{printed}");
        let manifest = manifest(&out);
        assert_eq!(
            (&manifest["dataset"], &manifest["network"], &manifest["folds"].as_array().unwrap().len()),
            (&dataset.into(), &network.into(), &5)
        );
        assert_eq!((&manifest["threshold"], &manifest["recipe"]), (&Value::Null, &Value::Null));
        // The checkpoints count from 0 and say 91.
        assert_eq!(manifest["folds"][0]["epoch"], 92);

        let lines = json_lines(&stdout(&mut score(&out, &[&Trained::shared().images], &["--json"])));
        assert_eq!(lines[0]["fold_scores"].as_array().unwrap().len(), 5);
        assert_eq!(lines[0]["in_distribution"], Value::Null);
        refused(&mut import(&golden("cifar10_dense.tar.gz"), &out), &[path(&out), "expected a new folder"]);
    }
}

#[test]
fn a_folder_gives_what_its_archive_gives_and_half_precision_takes_less() {
    let (dir, folder) = unpacked();
    let [a, b, half] = ["a", "b", "half"].map(|name| dir.path().join(name));
    stdout(&mut import(&folder, &a));
    stdout(&mut import(&golden("cifar10_dense.tar.gz"), &b));
    stdout(import(&folder, &half).arg("--half"));
    let file = |folder: &Path| fs::read(folder.join("fold-3.safetensors")).unwrap();
    assert!(file(&a) == file(&b));
    assert!(file(&half).len() < file(&a).len());
}

#[test]
fn one_of_several_sets_is_taken_by_name() {
    let (dir, folder) = unpacked();
    tar::Archive::new(GzDecoder::new(File::open(golden("cifar100_wide.tar.gz")).unwrap())).unpack(&folder).unwrap();
    import_refused(&folder, &["found cifar100_wide, cifar10_dense", "--set"]);
    let out = dir.path().join("weights");
    stdout(import(&folder, &out).args(["--set", "cifar100_wide"]));
    assert_eq!(manifest(&out)["network"], "wrn-10-1");
    refused(import(&folder, &dir.path().join("c")).args(["--set", "cifar10_wide"]), &["--set", "found cifar10_wide"]);
}

#[test]
fn hostile_pickles_are_refused_by_what_they_ask_for_and_nothing_is_run() {
    for name in ["hostile.pth.tar", "hostile-hidden.pth.tar"] {
        let (_dir, folder) = unpacked();
        let file = folder.join("cifar10_fold_2_dense_checkpoint/model_best.pth.tar");
        fs::copy(golden(name), &file).unwrap();
        import_refused(&folder, &[path(&file), "posix.system", "nothing was run"]);
        assert!(!Path::new(env!("CARGO_TARGET_TMPDIR")).join("eloc-was-here").exists());
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let (dir, folder) = unpacked();
    let sound = dir.path().join("sound");
    stdout(&mut import(&folder, &sound));
    let weights = fs::read(sound.join("fold-2.safetensors")).unwrap();
    let bias = SafeTensors::deserialize(&weights).unwrap().tensor("fc.bias").unwrap().data().to_vec();
    let file = folder.join("cifar10_fold_2_dense_checkpoint/model_best.pth.tar");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(bias.len()).position(|part| part == bias).expect("the file holds the biases as they are");
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    import_refused(&folder, &[path(&file), "expected finite numbers, found others in fc.bias"]);
}

#[test]
fn fold_files_without_a_manifest_are_not_written_over() {
    let dir = scratch();
    fs::write(dir.path().join("fold-1.safetensors"), b"exported").unwrap();
    let parts = [path(dir.path()), "expected a new folder", "fold-1.safetensors"];
    refused(&mut import(&golden("cifar10_dense.tar.gz"), dir.path()), &parts);
    refused(&mut train(&Trained::shared().images, dir.path(), &[]), &parts);
    assert!(fs::read(dir.path().join("fold-1.safetensors")).unwrap() == b"exported");
}

#[test]
fn names_that_contradict_the_tensors_are_refused() {
    let rename = |from: &str, to: &str| {
        let (dir, folder) = unpacked();
        for fold in 1..=5 {
            let name = format!("cifar10_fold_{fold}_dense_checkpoint");
            fs::rename(folder.join(&name), folder.join(name.replace(from, to))).unwrap();
        }
        (dir, folder)
    };
    let (_dir, folder) = rename("dense", "wide");
    import_refused(&folder, &["fold_1", "expected a wide network", "found densenet-bc-10-4"]);
    let (_dir, folder) = rename("cifar10", "cifar100");
    import_refused(&folder, &["fold_1", "expected 80 logits", "found 8"]);
}

#[test]
fn folds_that_are_missing_or_there_twice_are_refused() {
    let (_dir, folder) = unpacked();
    let [two, copy] = ["cifar10_fold_2_dense_checkpoint", "more/cifar10_fold_2_dense_checkpoint"];
    fs::create_dir_all(folder.join(copy)).unwrap();
    fs::copy(folder.join(two).join("model_best.pth.tar"), folder.join(copy).join("model_best.pth.tar")).unwrap();
    import_refused(&folder, &["expected fold 2 of cifar10_dense once"]);
    fs::remove_dir_all(folder.join("more")).unwrap();
    fs::remove_dir_all(folder.join(two)).unwrap();
    import_refused(&folder, &["expected the folds 1 to 5", "found [1, 3, 4, 5]"]);
}

#[test]
fn files_that_are_none_are_refused_by_name() {
    let (dir, folder) = unpacked();
    let file = folder.join("cifar10_fold_4_dense_checkpoint/model_best.pth.tar");
    let whole = fs::read(&file).unwrap();
    for damaged in [&whole[..whole.len() / 2], &whole[..40], b"no checkpoint", b""] {
        fs::write(&file, damaged).unwrap();
        import_refused(&folder, &[path(&file), "expected"]);
    }
    let other = dir.path().join("other");
    fs::write(&other, &whole).unwrap();
    import_refused(&other, &[path(&other), "expected a .tar.gz archive"]);
    import_refused(&dir.path().join("nothing"), &["nothing"]);
    import_refused(&Trained::shared().images, &["expected folders like cifar10_fold_1_dense_checkpoint"]);
}

#[test]
fn imported_weights_have_no_held_out_images_to_tune_on() {
    let dir = scratch();
    let out = dir.path().join("weights");
    stdout(&mut import(&golden("cifar10_dense.tar.gz"), &out));
    let images = &Trained::shared().images;
    let mut tune = eloc();
    tune.args(["tune", "--weights", path(&out), "--dataset", path(images), "--ood", "uniform:5"]);
    refused(&mut tune, &["expected weights that eloc trained, found imported ones"]);
    // The classes are CIFAR's, not those of the images at hand.
    refused(&mut evaluate(&out, images, dir.path(), &["uniform:5"]), &["expected the 10 classes of the weights"]);
}
