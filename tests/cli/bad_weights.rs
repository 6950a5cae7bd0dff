//! Damaged weights: every command that reads them says what is wrong with which file, and changes nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::tool::{Trained, evaluate, files, fold_file, manifest, path, refused, score, scratch, train};

/// A copy of the shared weights that a test may damage.
fn weights() -> (TempDir, PathBuf) {
    let dir = scratch();
    let weights = dir.path().join("weights");
    Trained::shared().copy(&weights);
    (dir, weights)
}

/// Every command that reads weights refuses them and leaves them as they are.
fn weights_refused(weights: &Path, parts: &[&str]) {
    let Trained { images, .. } = Trained::shared();
    let before = files(weights);
    let parts = [&[path(weights)][..], parts].concat();
    refused(&mut score(weights, &[images], &[]), &parts);
    refused(&mut evaluate(weights, images, weights, &["uniform:5"]), &parts);
    refused(&mut train(images, weights, &[]), &parts);
    assert!(files(weights) == before);
}

fn change_manifest(weights: &Path, change: impl FnOnce(&mut Value)) {
    let mut manifest = manifest(weights);
    change(&mut manifest);
    fs::write(weights.join("manifest.json"), manifest.to_string()).unwrap();
}

#[test]
fn weights_of_another_version_are_refused() {
    let (_dir, weights) = weights();
    // Another version may lack anything else that this one knows.
    fs::write(weights.join("manifest.json"), br#"{"format": 2, "members": []}"#).unwrap();
    weights_refused(&weights, &["manifest.json", "expected format 1", "found 2"]);
}

#[test]
fn manifest_that_is_not_json_is_refused() {
    let (_dir, weights) = weights();
    let whole = fs::read(weights.join("manifest.json")).unwrap();
    for damaged in [&b"weights"[..], &whole[..whole.len() / 2], b"{}", b""] {
        fs::write(weights.join("manifest.json"), damaged).unwrap();
        weights_refused(&weights, &["manifest.json", "expected a manifest of format 1"]);
    }
}

#[test]
fn manifest_of_values_that_do_not_fit_is_refused() {
    let (_dir, weights) = weights();
    let sound = manifest(&weights);
    for (place, value, expected) in [
        ("/classes", json!([]), "at least one class, found none"),
        ("/folds/1/kept", json!([]), "gives each fold to keep and to leave out, found [] and "),
        ("/folds/1/kept/0", json!(6), "in fold 2 of 3"),
        ("/folds/1/number", json!(1), "folds by number, found fold 1 after fold 1"),
        ("/folds/2/number", json!(4), "in fold 4 of 3"),
        ("/folds/1/left_out/0", json!(6), "in fold 2 of 3"),
        ("/split_seed", json!(4), "the classes that split_seed gives each fold"),
        (
            "/odin/temperature",
            json!(0),
            "a temperature of at least 0.001 and an epsilon from 0 to 1, found 0 and 0.002",
        ),
        ("/odin/epsilon", json!(2), "a temperature of at least 0.001 and an epsilon from 0 to 1, found 1000 and 2"),
        ("/fold_count", json!(0), "a fold_count from 1 to 1000, found 0"),
        ("/fold_count", json!(1_000_000_000_000_u64), "a fold_count from 1 to 1000, found 1000000000000"),
        ("/hold_out", json!(1), "hold_out from 0 to below 1, found 1"),
        ("/normalisation/std/2", json!(0), "standard deviations from 0.001 to 1"),
        ("/normalisation/mean/0", json!(1e30), "means from 0 to 1"),
    ] {
        let mut changed = sound.clone();
        *changed.pointer_mut(place).unwrap() = value;
        fs::write(weights.join("manifest.json"), changed.to_string()).unwrap();
        weights_refused(&weights, &["manifest.json", expected]);
    }
}

#[test]
fn flipped_byte_in_a_fold_file_is_refused() {
    let (_dir, weights) = weights();
    let mut bytes = fold_file(&weights, 2);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(weights.join("fold-2.safetensors"), &bytes).unwrap();
    let expected = manifest(&weights)["folds"][1]["sha256"].as_str().unwrap().to_owned();
    weights_refused(&weights, &["fold-2.safetensors", &format!("({} bytes, {expected})", bytes.len()), "found "]);
}

#[test]
fn truncated_fold_file_is_refused() {
    let (_dir, weights) = weights();
    let bytes = fold_file(&weights, 3);
    fs::write(weights.join("fold-3.safetensors"), &bytes[..100]).unwrap();
    let expected = format!("({} bytes, ", bytes.len());
    weights_refused(&weights, &["fold-3.safetensors", &expected, "found another (100 bytes"]);
}

#[test]
fn missing_fold_file_is_refused() {
    let (_dir, weights) = weights();
    fs::remove_file(weights.join("fold-1.safetensors")).unwrap();
    weights_refused(&weights, &["fold-1.safetensors"]);
}

#[test]
fn fold_file_of_another_network_is_refused() {
    let (_dir, weights) = weights();
    let Trained { images, .. } = Trained::shared();
    for other in ["compact-4-4-8", "wrn-10-1"] {
        change_manifest(&weights, |manifest| manifest["network"] = other.into());
        let parts = [path(&weights), "fold-1.safetensors", "expected the tensors of the manifest's network"];
        refused(&mut score(&weights, &[images], &[]), &parts);
    }
}

#[test]
fn folder_without_weights_is_refused() {
    let dir = scratch();
    let Trained { images, .. } = Trained::shared();
    let parts = [path(dir.path()), "expected a weights folder", "found no manifest.json in it"];
    refused(&mut score(dir.path(), &[images], &[]), &parts);
}
