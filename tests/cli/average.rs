//! `eloc average`.

use std::{path::Path, process::Command};

use half::f16;
use safetensors::SafeTensors;

use super::tool::{Trained, eloc, files, fold_file, manifest, path, refused, score, scratch, stdout, train};

fn average(weights: &Path, with: &Path, share: &str, out: &Path) -> Command {
    let Trained { images, .. } = Trained::shared();
    let mut command = eloc();
    command.args(["average", "--device", "cpu", "--dataset", path(images), "--share", share]);
    command.args(["--weights", path(weights), "--with", path(with), "--out", path(out)]);
    command
}

/// The first fold's filters of one convolution.
fn filters(weights: &Path) -> Vec<f32> {
    let bytes = fold_file(weights, 1);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let filters = tensors.tensor("block2.conv1.weight").unwrap();
    filters.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
}

#[test]
fn weights_are_averaged_with_those_they_were_trained_on_from() {
    let Trained { images, weights: first, .. } = Trained::shared();
    let folder = scratch();
    let [trained, out] = ["trained", "out"].map(|name| folder.path().join(name));
    stdout(&mut train(images, &trained, &[("--initial-weights", path(first)), ("--learning-rate", "0.5")]));
    refused(&mut average(&trained, first, "1.5", &out), &["--share", "from 0 to 1", "1.5"]);
    refused(&mut average(&trained, folder.path(), "0.5", &out), &[path(folder.path()), "expected a weights folder"]);
    assert!(files(&out).is_empty());

    stdout(&mut average(&trained, first, "0.25", &out));
    let all = [&trained, first, &out].map(|weights| filters(weights));
    assert!(all[0] != all[1]);
    for ((a, b), mean) in all[0].iter().zip(&all[1]).zip(&all[2]) {
        let expected = 0.75 * a + 0.25 * b;
        assert!((mean - expected).abs() <= 1e-3 * expected.abs() + 1e-6, "{a} and {b}: {mean}");
    }
    let (mean, before) = (manifest(&out), manifest(&trained));
    assert_eq!(mean["averaged"]["share"], 0.25);
    assert_eq!(mean["recipe"], before["recipe"]);
    assert_eq!(mean["initial_sha256"], mean["averaged"]["sha256"], "it is the one that was trained on from");
    assert!(mean["threshold"].is_number() && mean["self_test"].is_array());
    stdout(&mut score(&out, &[images], &[]));
    refused(&mut average(&trained, first, "0.25", &out), &[path(&out), "expected a new folder"]);
    refused(&mut train(images, &out, &[]), &[path(&out), "expected a run with the same"]);

    // A mean may be trained on and averaged once more.
    let again = folder.path().join("again");
    stdout(&mut train(images, &again, &[("--initial-weights", path(&out)), ("--epochs", "1")]));
    stdout(&mut average(&again, &out, "0.5", &folder.path().join("mean")));
}

#[test]
fn weights_that_have_no_mean_are_refused() {
    let Trained { images, weights, .. } = Trained::shared();
    let folder = scratch();
    let [other, out] = ["other", "out"].map(|name| folder.path().join(name));
    stdout(&mut train(images, &other, &[("--seed", "5"), ("--epochs", "1")]));
    refused(&mut average(weights, &other, "0.5", &out), &["--with", path(&other), "recipe.seed", "5", "1"]);

    let alike = folder.path().join("alike");
    stdout(&mut train(images, &alike, &[("--epochs", "1")]));
    refused(&mut average(weights, &alike, "0.5", &out), &["--with", path(&alike), "found a training of its own"]);
    assert!(files(&out).is_empty());
    stdout(&mut average(weights, &alike, "0", &out));
}
