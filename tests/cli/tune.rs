//! `eloc tune`.

use std::{path::Path, process::Command};

use super::tool::{CLASSES, Trained, eloc, evaluate, json, manifest, path, refused, scratch, stdout};

fn tune(weights: &Path, dataset: &Path, data: &Path) -> Command {
    let mut command = eloc();
    command.args(["tune", "--device", "cpu", "--weights", path(weights), "--dataset", path(dataset)]);
    command.args([
        "--data",
        path(data),
        "--ood",
        "uniform:30",
        "--epsilons",
        "0,0.002,0.004",
        "--temperatures",
        "1,1000",
    ]);
    command.args(["--gradients", "cross-entropy,entropy"]);
    command
}

#[test]
fn best_setting_is_chosen_on_held_out_images_and_written_with_its_threshold() {
    let Trained { images, .. } = Trained::shared();
    let dir = scratch();
    let (weights, file) = (dir.path().join("weights"), dir.path().join("tuning.json"));
    Trained::shared().copy(&weights);
    let before = manifest(&weights);

    let table = stdout(tune(&weights, images, dir.path()).args(["--json", path(&file)]));
    assert_eq!(manifest(&weights), before, "nothing is written without --write");
    let tuning = json(&file);
    let trials = tuning["trials"].as_array().unwrap();
    // Two gradients with two epsilons each at T 1000, and one without a step; then T 1 at the best of them.
    assert_eq!(trials.len(), 6, "{table}");
    let gradients: Vec<_> = trials[..5].iter().map(|trial| &trial["gradient"]).collect();
    assert_eq!(gradients, ["cross-entropy", "cross-entropy", "cross-entropy", "entropy", "entropy"]);
    // One image of each class was held out.
    assert_eq!(tuning["id_images"], CLASSES);
    let auroc = |trial: &serde_json::Value| trial["auroc"].as_f64().unwrap();
    let best = trials.iter().map(auroc).fold(0.0, f64::max);
    let chosen = trials.iter().find(|trial| auroc(trial) == best).unwrap();
    for setting in ["epsilon", "temperature", "gradient"] {
        assert_eq!(chosen[setting], tuning["best"][setting]);
    }
    let (epsilon, gradient) = (chosen["epsilon"].as_f64().unwrap(), chosen["gradient"].as_str().unwrap());
    assert!(table.contains(&format!("best: --epsilon {epsilon} ")), "{table}");
    assert!(table.contains(&format!("--gradient {gradient}\n")), "{table}");
    assert!(table.contains("\n        entropy     0.002"), "{table}");
    assert_eq!(table.contains("the largest epsilon tried"), epsilon == 0.004, "{table}");

    stdout(tune(&weights, images, dir.path()).arg("--write"));
    let after = manifest(&weights);
    assert_eq!(after["odin"], tuning["best"]);
    assert!(after["threshold"].is_f64() && after["self_test"].is_array());
    let report = dir.path().join("report.json");
    stdout(evaluate(&weights, images, dir.path(), &["uniform:5"]).args(["--json", path(&report)]));
    assert_eq!(json(&report)["odin"], tuning["best"]);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    for (flag, value) in [("--epsilons", "0.001,-1"), ("--epsilons", "-1"), ("--temperatures", "0"), ("--limit", "0")] {
        let mut command = eloc();
        command.args(["tune", "--device", "cpu", "--weights", path(weights), "--dataset", path(images)]);
        command.args(["--data", path(dir.path()), "--ood", "uniform:5", flag, value]);
        refused(&mut command, &[flag, "expected"]);
    }
}

#[test]
fn images_that_the_weights_were_not_trained_on_are_refused() {
    let dir = scratch();
    let other = dir.path().join("other");
    super::pictures::class_folder(&other, CLASSES, 4);
    let weights = &Trained::shared().weights;
    refused(&mut tune(weights, &other, dir.path()), &["expected the images that the weights were trained on"]);
}

#[test]
fn folder_that_was_trained_on_has_to_be_given() {
    let mut command = eloc();
    command.args(["tune", "--device", "cpu", "--weights", path(&Trained::shared().weights), "--ood", "uniform:5"]);
    refused(&mut command, &["--dataset: expected the folder of pictures", "found no --dataset"]);
}
