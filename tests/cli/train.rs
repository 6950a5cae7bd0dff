//! `eloc train` on folders of images: what it leaves behind, and what it refuses.

#[cfg(unix)]
use std::process::{Command, Output};
use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use sha2::{Digest, Sha256};

#[cfg(unix)]
use super::tool::ELOC;
use super::tool::{
    CLASSES, EPOCHS, FOLDS, PER_CLASS, TEST_PER_CLASS, Trained, evaluate, files, fold_file, fold_files, manifest, path,
    refused, score, scratch, stdout, train,
};

#[test]
fn manifest_describes_the_run_and_its_files() {
    let Trained { weights, .. } = Trained::shared();
    let manifest = manifest(weights);
    assert_eq!(manifest["format"], 1);
    assert_eq!(manifest["dataset"], "pictures");
    assert_eq!(manifest["network"], "compact-4-4-4");
    assert_eq!(manifest["recipe"]["batch"], 12);
    assert_eq!(
        manifest["odin"],
        serde_json::json!({"temperature": 1000.0, "epsilon": 0.002, "gradient": "cross-entropy"})
    );
    assert_eq!(manifest["classes"].as_array().unwrap().len(), CLASSES);
    assert!(manifest["threshold"].is_f64());
    assert_eq!(manifest["self_test"].as_array().unwrap().len(), 30);

    let entries = manifest["folds"].as_array().unwrap();
    assert_eq!(entries.len(), FOLDS);
    let mut left_out = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let bytes = fs::read(weights.join(entry["file"].as_str().unwrap())).unwrap();
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (&entry["number"], &entry["bytes"], &entry["sha256"]),
            (&Value::from(index + 1), &Value::from(bytes.len()), &Value::from(hash),)
        );
        left_out.extend(entry["left_out"].as_array().unwrap().iter().map(|class| class.as_u64().unwrap()));
    }
    assert!(left_out.into_iter().eq(0..CLASSES as u64), "each class is left out once");
}

#[test]
fn filters_are_half_precision_and_vectors_single() {
    let bytes = fold_file(&Trained::shared().weights, 1);
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let header: Value = serde_json::from_slice(&rest[..u64::from_le_bytes(*length) as usize]).unwrap();
    let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let mut types = BTreeSet::new();
    for (name, tensor) in tensors {
        let rank = tensor["shape"].as_array().unwrap().len();
        assert_eq!(tensor["dtype"], if rank < 2 { "F32" } else { "F16" }, "{name}");
        types.insert(tensor["dtype"].as_str());
    }
    assert_eq!(types.len(), 2, "a network has both kinds");
}

#[test]
fn logs_and_plots_show_every_epoch() {
    let Trained { weights, .. } = Trained::shared();
    let manifest = manifest(weights);
    for number in 1..=FOLDS {
        let lines = fs::read_to_string(weights.join(format!("logs/fold-{number}.jsonl"))).unwrap();
        let epochs: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(epochs.len(), EPOCHS);
        assert_eq!(Value::from(epochs), manifest["folds"][number - 1]["history"]);
        let plot = fs::read_to_string(weights.join(format!("logs/fold-{number}.svg"))).unwrap();
        assert!(plot.starts_with("<svg") && plot.trim_end().ends_with("</svg>"));
        assert!(plot.contains(&format!("fold {number}")) && plot.contains("held-out AUROC"));
    }
}

#[test]
fn training_says_what_it_does_where_and_what_to_do_next() {
    let Trained { weights, printed, .. } = Trained::shared();
    // One of each class's images is held out for the threshold.
    let images = CLASSES * (PER_CLASS - TEST_PER_CLASS - 1);
    let first =
        format!("pictures: {images} training images of 6 classes, 3 folds to train with compact-4-4-4 for 2 epochs");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], first);
    assert!(lines[1].starts_with("device CPU") && lines[1].ends_with(path(weights)), "{}", lines[1]);
    assert!(lines[2].starts_with("about "), "{}", lines[2]);
    // 36 kept images, one held out for each of 6 classes.
    assert!(lines[3].starts_with("a fold takes only "), "{}", lines[3]);
    assert!(printed.contains("comes from 6 held-out images only"), "{printed}");
    assert_eq!(lines.iter().filter(|line| line.contains(" epoch ") && line.contains("AUROC")).count(), FOLDS * EPOCHS);
    assert!(printed.contains(&format!("score --weights {}", path(weights))), "{printed}");
}

#[test]
fn finished_training_leaves_nothing_temporary() {
    let mut expected = BTreeSet::from([".lock".to_owned(), "manifest.json".to_owned()]);
    for number in 1..=FOLDS {
        expected.insert(format!("fold-{number}.safetensors"));
        expected.extend(["jsonl", "svg"].map(|extension| format!("logs/fold-{number}.{extension}")));
    }
    assert!(files(&Trained::shared().weights).into_keys().eq(expected));
}

#[test]
fn folds_can_be_trained_one_at_a_time_in_any_order() {
    let Trained { images, weights, .. } = Trained::shared();
    let folder = scratch();
    let out = folder.path().join("run");
    let one = |fold: &str| stdout(&mut train(images, &out, &[("--fold", fold)]));

    assert!(one("2").ends_with(": 1 of 3 folds done; missing: 1, 3\n"));
    assert_eq!(manifest(&out)["threshold"], Value::Null);
    let parts = [path(&out), "expected 3 trained folds, found 1", "the command that trained them trains the others"];
    refused(&mut score(&out, &[images], &[]), &parts);
    stdout(evaluate(&out, images, folder.path(), &["uniform:20"]).args(["--folds", "1"]));
    assert!(one("3").ends_with(": 2 of 3 folds done; missing: 1\n"));
    assert!(one("1").contains("score --weights"));

    assert!(fold_files(&out) == fold_files(weights));
    assert_eq!(manifest(&out)["threshold"], manifest(weights)["threshold"]);
}

#[test]
fn fold_that_does_not_exist_is_refused() {
    let folder = scratch();
    let out = folder.path().join("run");
    refused(&mut train(&Trained::shared().images, &out, &[("--fold", "4")]), &["--fold: expected 1 to 3, found 4"]);
    assert!(!out.exists());
}

#[test]
fn same_seed_gives_the_same_files_and_another_seed_others() {
    let Trained { images, weights, .. } = Trained::shared();
    let folder = scratch();
    let trained = |seed: &str| {
        let out = folder.path().join(seed);
        stdout(&mut train(images, &out, &[("--fold", "1"), ("--seed", seed)]));
        fold_file(&out, 1)
    };
    // 1 is also the default.
    assert!(trained("1") == fold_file(weights, 1));
    assert!(trained("2") != fold_file(weights, 1));
}

#[test]
fn finished_run_is_left_as_it_is() {
    let shared = Trained::shared();
    let folder = scratch();
    shared.copy(folder.path());
    let before = files(folder.path());
    let printed = stdout(&mut train(&shared.images, folder.path(), &[]));
    assert!(printed.starts_with("pictures: nothing left to train in "), "{printed}");
    assert!(files(folder.path()) == before);
}

/// The message must not list the settings that are the same.
#[test]
fn folder_of_another_run_is_refused_by_the_setting_that_differs() {
    let shared = Trained::shared();
    let folder = scratch();
    shared.copy(folder.path());
    let before = files(folder.path());
    for (flag, value, name, found) in [
        ("--network", "compact-4-4-8", "network", "\"compact-4-4-4\" there"),
        ("--folds", "2", "fold_count", "3 there"),
        ("--seed", "2", "seed", "1 there"),
        ("--margin", "0.5", "margin", "1.0 there"),
        ("--logit-norm", "0", "logit_norm", "0.1 there"),
        ("--padding-mode", "reflect", "padding_mode", "\"constant\" there"),
        ("--cutout", "8", "cutout", "0 there"),
    ] {
        let message =
            refused(&mut train(&shared.images, folder.path(), &[(flag, value)]), &[path(folder.path()), name, found]);
        assert!(!message.contains("weight_decay"), "{message}");
    }
    assert!(files(folder.path()) == before);
}

#[test]
fn folder_of_a_run_on_other_images_is_refused() {
    let shared = Trained::shared();
    let folder = scratch();
    let (images, out) = (folder.path().join("pictures"), folder.path().join("run"));
    super::pictures::class_folder(&images, CLASSES, PER_CLASS + 1);
    shared.copy(&out);
    refused(&mut train(&images, &out, &[]), &[path(&out), "images_sha256"]);
}

#[test]
fn folder_of_a_run_on_other_labels_is_refused() {
    let folder = scratch();
    let (images, out) = (folder.path().join("pictures"), folder.path().join("run"));
    super::pictures::class_folder(&images, CLASSES, PER_CLASS);
    Trained::shared().copy(&out);
    stdout(&mut train(&images, &out, &[]));
    // The images of two classes, of which each has as many, change places in the order of labels only.
    fs::rename(images.join("class-0"), images.join("class-1x")).unwrap();
    for (from, to) in [("class-1", "class-0"), ("class-1x", "class-1")] {
        fs::rename(images.join(from), images.join(to)).unwrap();
    }
    refused(&mut train(&images, &out, &[]), &[path(&out), "images_sha256"]);
}

#[test]
fn run_inside_the_folder_of_the_images_is_refused() {
    let folder = scratch();
    let images = folder.path().join("pictures");
    super::pictures::class_folder(&images, CLASSES, PER_CLASS);
    for out in [images.clone(), images.join("runs/new"), images.join("../pictures/run")] {
        refused(&mut train(&images, &out, &[]), &["--out: expected a folder outside of the images", path(&out)]);
    }
    assert_eq!(fs::read_dir(&images).unwrap().count(), CLASSES);
}

/// Else the next try, with the settings put right, would be refused for being another run.
#[test]
fn refused_settings_do_not_claim_the_folder() {
    let Trained { images, .. } = Trained::shared();
    let folder = scratch();
    let out = folder.path().join("run");
    refused(&mut train(images, &out, &[("--select", "paper")]), &["--select paper", "--validation-ood"]);
    let by_test_images = [("--select", "reference"), ("--validation-ood", "uniform:4")];
    refused(&mut train(images, &out, &by_test_images), &["--select reference", "expected --logit-norm 0"]);
    assert!(files(&out).is_empty());
}

#[test]
fn diverged_run_can_be_started_again_with_a_lower_learning_rate() {
    let Trained { images, weights, .. } = Trained::shared();
    let folder = scratch();
    let one = |rate: &str| train(images, folder.path(), &[("--fold", "1"), ("--learning-rate", rate)]);
    refused(&mut one("1e30"), &["fold 1, epoch 1", "expected a finite loss", "lower learning rate"]);
    // The recipe's own rate.
    stdout(&mut one("0.25"));
    assert!(fold_file(folder.path(), 1) == fold_file(weights, 1));
}

/// The last epoch's checkpoint is there but its log is not: going on has no epoch left to train.
#[test]
fn log_that_could_not_be_written_is_written_when_the_run_goes_on() {
    let Trained { images, .. } = Trained::shared();
    let folder = scratch();
    let one = || train(images, folder.path(), &[("--fold", "1"), ("--epochs", "1")]);
    let logs = folder.path().join("logs");
    fs::write(&logs, b"in the way").unwrap();
    refused(&mut one(), &[path(&logs), "could not be written"]);
    fs::remove_file(&logs).unwrap();

    let printed = stdout(&mut one());
    assert!(printed.contains("fold 1: going on after epoch 1"), "{printed}");
    let log = fs::read_to_string(logs.join("fold-1.jsonl")).expect("the log of the finished fold");
    assert_eq!(log.lines().count(), 1);
}

#[test]
fn checkpoint_of_other_settings_is_refused() {
    let Trained { images, .. } = Trained::shared();
    let folder = scratch();
    let one = |margin: &str| train(images, folder.path(), &[("--fold", "1"), ("--margin", margin)]);
    // A run that ends after its first checkpoint, and whose manifest goes missing.
    let logs = folder.path().join("logs");
    fs::write(&logs, b"in the way").unwrap();
    refused(&mut one("0.4"), &["could not be written"]);
    fs::remove_file(&logs).unwrap();
    fs::remove_file(folder.path().join("manifest.json")).unwrap();
    refused(&mut one("0.5"), &["checkpoints/fold-1", "expected a checkpoint of a run with the same settings"]);

    fs::remove_file(folder.path().join("manifest.json")).unwrap();
    assert!(stdout(&mut one("0.4")).contains("fold 1: going on after epoch 1"));
}

#[test]
fn fold_that_another_process_trains_is_refused() {
    let Trained { images, .. } = Trained::shared();
    let folder = scratch();
    let lock = fs::File::create(folder.path().join(".fold-1.lock")).unwrap();
    lock.lock().unwrap();
    let one = |fold: &str| train(images, folder.path(), &[("--fold", fold)]);
    refused(&mut one("1"), &[path(folder.path()), "another process is training fold 1"]);
    assert!(stdout(&mut one("2")).contains("1 of 3 folds done"));
    // Without --fold it is left to the other one.
    let printed = stdout(&mut train(images, folder.path(), &[]));
    assert!(printed.contains("\nanother process is training fold 1\n"), "{printed}");
    assert!(printed.ends_with(": 2 of 3 folds done; missing: 1\n"), "{printed}");
}

/// A training has no checkpoint before its first epoch ends.
#[test]
fn folder_in_which_another_process_has_begun_is_not_taken_for_other_settings() {
    let Trained { images, .. } = Trained::shared();
    let folder = scratch();
    let with = |margin: &str| train(images, folder.path(), &[("--fold", "2"), ("--margin", margin)]);
    stdout(&mut with("0.4"));
    // As the other process finds it: fold 1 is being trained, none is done.
    let mut none_done = manifest(folder.path());
    none_done["folds"] = serde_json::json!([]);
    fs::write(folder.path().join("manifest.json"), none_done.to_string()).unwrap();
    let lock = fs::File::create(folder.path().join(".fold-1.lock")).unwrap();
    lock.lock().unwrap();
    refused(&mut with("0.5"), &[path(folder.path()), "recipe.loss.margin"]);
    drop(lock);
    assert!(stdout(&mut with("0.5")).contains("1 of 3 folds done"));
}

#[test]
fn folds_whose_epoch_other_images_would_choose_are_refused() {
    let Trained { images, .. } = Trained::shared();
    let folder = scratch();
    let one = |fold: &str, ood: &str| train(images, folder.path(), &[("--fold", fold), ("--validation-ood", ood)]);
    stdout(&mut one("1", "uniform:20"));
    refused(&mut one("2", "uniform:30"), &[path(folder.path()), "validation_sha256"]);
    refused(&mut train(images, folder.path(), &[("--fold", "2")]), &[path(folder.path()), "validation_sha256"]);
    stdout(&mut one("2", "uniform:20"));
}

#[test]
fn other_perturbation_than_that_of_the_run_is_not_passed_over() {
    let shared = Trained::shared();
    let folder = scratch();
    shared.copy(folder.path());
    let with = |epsilon: &str| train(&shared.images, folder.path(), &[("--epsilon", epsilon)]);
    refused(&mut with("0.004"), &[path(folder.path()), "--epsilon", "tune --write"]);
    stdout(&mut with("0.002"));
}

#[test]
fn class_without_held_out_images_is_refused_before_the_training() {
    let folder = scratch();
    let (images, out) = (folder.path().join("pictures"), folder.path().join("run"));
    super::pictures::class_folder(&images, CLASSES, PER_CLASS);
    for file in fs::read_dir(images.join("class-2")).unwrap().skip(2) {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    // One class a fold; its other image is the test set's.
    let parts = ["pictures: expected held-out images", "and 0; give each class more images"];
    refused(&mut train(&images, &out, &[("--folds", "6")]), &parts);
    assert!(files(&out).is_empty());
}

/// The published rule chooses by test images, but the threshold needs others.
#[test]
fn classes_of_one_image_are_refused_before_the_training() {
    let folder = scratch();
    let (images, out) = (folder.path().join("pictures"), folder.path().join("run"));
    for part in ["train", "test"] {
        super::pictures::class_folder(&images.join(part), CLASSES, 1);
    }
    let settings = [("--select", "reference"), ("--validation-ood", "uniform:4"), ("--logit-norm", "0")];
    refused(&mut train(&images, &out, &settings), &["pictures: expected a class of two training images", "found none"]);
    assert!(files(&out).is_empty());
}

#[test]
fn folder_named_like_a_built_in_set_is_not_taken_for_it() {
    let folder = scratch();
    let (images, out) = (folder.path().join("shapes"), folder.path().join("run"));
    super::pictures::class_folder(&images, CLASSES, PER_CLASS);
    stdout(&mut train(&images, &out, &[("--fold", "1")]));
    assert_eq!(manifest(&out)["dataset"], "shapes-images");
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let Trained { images, .. } = Trained::shared();
    let folder = scratch();
    let out = folder.path().join("run");
    for (flag, value) in [
        ("--batch", "0"),
        ("--epochs", "0"),
        ("--hold-out", "0"),
        ("--hold-out", "1"),
        ("--epsilon", "-1"),
        ("--temperature", "0"),
        ("--dropout", "2"),
        ("--logit-norm", "-1"),
        ("--padding", "33"),
        ("--cutout", "33"),
        ("--learning-rate", "NaN"),
        ("--averaged-epochs", "0"),
    ] {
        // A value that the parser itself refuses is a usage error, 2.
        let setting = format!("{flag}={value}");
        let mut arguments = super::tool::training_args(path(images), &out, &[]);
        if let Some(at) = arguments.iter().position(|argument| argument == flag) {
            arguments.drain(at..at + 2);
        }
        let output = super::tool::eloc().args(arguments).arg(&setting).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{setting}: {:?} {message}", output.status);
        assert!(message.contains(flag) && message.contains(&format!("found {value}")), "{setting}: {message}");
        assert!(files(&out).is_empty(), "{setting} left something behind");
    }
}

#[test]
fn ordinary_networks_keep_all_classes_and_need_images_to_select_with() {
    let Trained { images, .. } = Trained::shared();
    let folder = scratch();
    let out = folder.path().join("run");
    refused(train(images, &out, &[]).arg("--all-classes"), &["--all-classes", "--validation-ood"]);
    let without = [("--beta", "0.5"), ("--outlier-batch", "0")];
    refused(train(images, &out, &without).arg("--all-classes"), &["--all-classes", "--outlier-batch"]);
    assert!(!out.exists());

    stdout(train(images, &out, &[("--validation-ood", "uniform:20")]).arg("--all-classes"));
    let folds = manifest(&out)["folds"].clone();
    assert_eq!(folds.as_array().unwrap().len(), FOLDS);
    for fold in folds.as_array().unwrap() {
        assert_eq!(
            (&fold["left_out"], &fold["kept"]),
            (&serde_json::json!([]), &serde_json::json!([0, 1, 2, 3, 4, 5]))
        );
    }
    assert!(fold_file(&out, 1) != fold_file(&out, 2), "each has its own random numbers");
    // The same folder is no longer one of leave-out folds.
    refused(&mut train(images, &out, &[("--left-out-batch", "0")]), &[path(&out), "all_classes"]);
}

#[test]
fn averaged_epochs_are_trained_after_a_finished_training() {
    let Trained { images, weights, .. } = Trained::shared();
    let folder = scratch();
    let out = folder.path().join("run");
    let averaged = |from: &Path, settings: &[(&str, &str)]| {
        let settings = [&[("--averaged-epochs", "1"), ("--start-from", path(from))], settings].concat();
        train(images, &out, &settings)
    };
    refused(&mut averaged(weights, &[("--margin", "0.5")]), &["--start-from", path(weights), "recipe.loss.margin"]);
    let one_fold = folder.path().join("one-fold");
    stdout(&mut train(images, &one_fold, &[("--fold", "1")]));
    let first_of_one = &mut averaged(&one_fold, &[("--fold", "1")]);
    refused(first_of_one, &["--start-from", path(&one_fold), "expected a trained fold 2"]);
    assert!(files(&out).is_empty());

    let printed = stdout(&mut averaged(weights, &[]));
    assert!(printed.contains("fold 3: going on after epoch 2\nfold 3 epoch 3/3: "), "{printed}");
    let (before, after) = (manifest(weights), manifest(&out));
    for fold in 0..FOLDS {
        let [before, after] = [&before, &after].map(|manifest| manifest["folds"][fold]["history"].as_array().unwrap());
        assert_eq!((after.len(), &after[..EPOCHS]), (EPOCHS + 1, &before[..]));
        assert!(fold_file(&out, fold + 1) != fold_file(weights, fold + 1));
    }
    // A run of its own has other weights.
    refused(&mut train(images, &out, &[("--averaged-epochs", "1")]), &[path(&out), "start_sha256"]);
}

/// With each side of a step in a batch of its own, which no other test trains with.
#[test]
fn trainings_start_from_the_weights_of_another() {
    let Trained { images, weights, .. } = Trained::shared();
    let folder = scratch();
    let out = folder.path().join("run");
    let others = [("--one-batch", "false"), ("--outlier-batch", "3"), ("--epochs", "1")];
    let from = |from: &Path, settings: &[(&str, &str)]| {
        train(images, &out, &[&others[..], &[("--initial-weights", path(from))], settings].concat())
    };
    refused(&mut from(folder.path(), &[]), &[path(folder.path()), "expected a weights folder"]);
    refused(&mut from(weights, &[("--hold-out", "0.4")]), &["--initial-weights", path(weights), "hold_out"]);
    refused(&mut from(weights, &[("--seed", "5")]), &["--initial-weights", path(weights), "recipe.seed"]);
    assert!(files(&out).is_empty());

    // Without steps the weights stay.
    let printed = stdout(&mut from(weights, &[("--learning-rate", "0")]));
    assert!(printed.contains("fold 3 epoch 1/1: ") && !printed.contains("going on after"), "{printed}");
    let (before, after) = (manifest(weights), manifest(&out));
    assert_eq!(after["recipe"]["outlier_batch"], 3);
    for fold in 0..FOLDS {
        let accuracy = |manifest: &Value, epoch: usize| {
            manifest["folds"][fold]["history"][epoch]["validation_accuracy"].as_f64().unwrap()
        };
        assert_eq!(accuracy(&after, 0), accuracy(&before, EPOCHS - 1));
    }
    // A run from the beginning has other weights.
    refused(&mut train(images, &out, &[("--epochs", "1")]), &[path(&out), "initial_sha256"]);

    // Averaged epochs after it.
    let averaged = folder.path().join("averaged");
    let settings = [("--learning-rate", "0"), ("--averaged-epochs", "1"), ("--start-from", path(&out))];
    stdout(&mut train(images, &averaged, &[&others[..], &settings].concat()));
    assert_eq!(manifest(&averaged)["initial_sha256"], after["initial_sha256"]);
}

#[test]
fn trainings_learn_from_the_probabilities_of_a_teacher() {
    let Trained { images, weights, .. } = Trained::shared();
    let folder = scratch();
    let [out, alone] = ["run", "alone"].map(|name| folder.path().join(name));
    let others = [("--epochs", "1")];
    let from = |teacher: &Path, settings: &[(&str, &str)]| {
        train(images, &out, &[&others[..], &[("--teacher", path(teacher))], settings].concat())
    };
    refused(&mut from(folder.path(), &[]), &[path(folder.path()), "expected a weights folder"]);
    refused(&mut from(weights, &[("--hold-out", "0.4")]), &["--teacher", path(weights), "held out the same images"]);
    refused(&mut from(weights, &[("--teacher-share", "1.5")]), &["--teacher-share", "from 0 to 1", "1.5"]);
    assert!(files(&out).is_empty());

    stdout(&mut from(weights, &[]));
    stdout(&mut train(images, &alone, &others));
    let [taught, alone] = [&out, &alone].map(|out| (manifest(out), fold_file(out, 1)));
    assert_eq!((&taught.0["recipe"]["teacher_share"], &taught.0["recipe"]["one_batch"]), (&0.7.into(), &true.into()));
    assert!(taught.0["teacher_sha256"].is_string() && alone.0["teacher_sha256"].is_null());
    assert!(taught.1 != alone.1);
    refused(&mut train(images, &out, &others), &[path(&out), "teacher_"]);

    // Averaged epochs after it, with the same teacher.
    let averaged = folder.path().join("averaged");
    let settings = [("--teacher", path(weights)), ("--averaged-epochs", "1"), ("--start-from", path(&out))];
    stdout(&mut train(images, &averaged, &[&others[..], &settings].concat()));
    assert_eq!(manifest(&averaged)["teacher_sha256"], taught.0["teacher_sha256"]);
}

/// `weights/train.sh` for the shared ensemble's training.
#[cfg(unix)]
fn script(out: &Path, minutes: &str, network: &str) -> Output {
    let mut command = Command::new("bash");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/weights/train.sh"))
        .args(["--dataset", path(&Trained::shared().images)]);
    command.args(["--network", network, "--batch", "12", "--left-out-batch", "4", "--outlier-batch", "4"]);
    command.args(["--epochs", "2", "--device", "cpu"]);
    command.env("ELOC", ELOC).env("ELOC_DATA", out).env("OUT", out).env("MINUTES", minutes);
    command.env("JOBS", "2").env("FOLDS", FOLDS.to_string()).output().unwrap()
}

#[cfg(unix)]
#[test]
fn the_script_trains_folds_side_by_side_and_stops_in_time() {
    let folder = scratch();
    let out = folder.path().join("run");
    assert_eq!(script(&out, "0", "compact-4-4-4").status.code(), Some(3));
    let finished = script(&out, "60", "compact-4-4-4");
    assert!(finished.status.success(), "{finished:?}");
    assert!(fold_files(&out) == fold_files(&Trained::shared().weights));
    assert!(manifest(&out)["threshold"].is_f64());

    // Not the network of this folder.
    let failed = script(&out, "60", "compact-4-4-8");
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(said.contains("a fold failed") && said.contains("expected a run with the same network"), "{said}");
}

#[test]
fn settings_are_checked_before_data_are_fetched() {
    let folder = scratch();
    let out = folder.path().join("run");
    for (setting, said) in [
        (("--epochs", "0"), "--epochs: expected a number from 1 to 1000000, found 0"),
        (("--fold", "4"), "--fold: expected 1 to 3, found 4"),
        (("--temperature", "0"), "--temperature: expected a number of at least 0.001, found 0"),
        (("--select", "paper"), "found no --validation-ood"),
    ] {
        let arguments = super::tool::training_args("cifar10", &out, &[setting]);
        refused(super::tool::eloc().args(arguments), &[said]);
    }
}
