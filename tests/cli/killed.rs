//! A training that is killed at any moment and started again ends as if nothing had happened.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::tool::{
    ELOC, FOLDS, Trained, files, fold_files, manifest, path, score, scratch, stdout, train, training_args,
};

/// Enough epochs that a run takes seconds and most of them end in a checkpoint that a kill can hit.
const SETTINGS: [(&str, &str); 2] = [("--epochs", "8"), ("--averaged-epochs", "4")];
const KILLS: usize = 8;

/// When a process is killed.
#[derive(Debug)]
enum Moment {
    /// After this share of the time that an undisturbed run takes.
    Share(f64),
    /// With this line about an epoch, after which the checkpoint is written.
    Epoch(usize),
}

#[test]
fn killed_training_goes_on_to_the_same_weights() {
    let Trained { images, .. } = Trained::shared();
    let folder = scratch();
    let (undisturbed, killed) = (folder.path().join("undisturbed"), folder.path().join("killed"));
    let start = Instant::now();
    stdout(&mut train(images, &undisturbed, &SETTINGS));
    let whole = start.elapsed();

    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut kills = 0;
    for kill in 0..KILLS {
        // Runs get shorter as they go on, so most moments are early; the other kind hits the writing of a checkpoint.
        let moment = match kill % 2 {
            0 => Moment::Share(rng.random_range(0.0..0.5)),
            _ => Moment::Epoch(rng.random_range(1..=5)),
        };
        kills += usize::from(kill_at(&moment, images, &killed, whole));
    }
    assert!(kills >= KILLS / 2, "{kills} of {KILLS} moments came before the end");
    stdout(&mut train(images, &killed, &SETTINGS));

    assert!(fold_files(&killed) == fold_files(&undisturbed));
    assert_eq!(without_times(manifest(&killed)), without_times(manifest(&undisturbed)));
    assert_logs_agree(&killed, &undisturbed);
    assert_nothing_matters_beside(&killed, &undisturbed);
    let scores = |weights: &Path| stdout(&mut score(weights, &[images], &["--json"]));
    assert_eq!(scores(&killed), scores(&undisturbed));
}

/// Starts a training and kills it at `moment`; whether that came before its end.
fn kill_at(moment: &Moment, images: &Path, out: &Path, whole: Duration) -> bool {
    let mut child = Command::new(ELOC)
        .args(training_args(path(images), out, &SETTINGS))
        .env("ELOC_DATA", out)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Held until the end: a process whose output nobody reads would fail by itself.
    let output = child.stdout.take().expect("the output is piped");
    let mut epochs = BufReader::new(output).lines().map_while(Result::ok).filter(|line| line.contains(" epoch "));
    match *moment {
        Moment::Share(share) => thread::sleep(whole.mul_f64(share)),
        Moment::Epoch(count) => _ = epochs.nth(count - 1),
    }
    // On Unix this is SIGKILL, which a process cannot prepare for.
    child.kill().unwrap();
    match child.wait().unwrap().code() {
        None => true,
        Some(code) => {
            assert_eq!(code, 0, "{moment:?}: a run that is gone on with must not fail");
            false
        }
    }
}

/// The manifest without what is different in every run.
fn without_times(mut manifest: Value) -> Value {
    for fold in manifest["folds"].as_array_mut().unwrap() {
        fold["provenance"].take();
        fold["history"].as_array_mut().unwrap().iter_mut().for_each(|epoch| _ = epoch["seconds"].take());
    }
    manifest
}

fn assert_logs_agree(killed: &Path, undisturbed: &Path) {
    let log = |run: &Path, fold: usize| -> Vec<Value> {
        let text = std::fs::read_to_string(run.join(format!("logs/fold-{fold}.jsonl"))).unwrap();
        let mut epochs: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        epochs.iter_mut().for_each(|epoch| _ = epoch["seconds"].take());
        epochs
    };
    for fold in 1..=FOLDS {
        assert_eq!(log(killed, fold), log(undisturbed, fold));
    }
}

/// A kill between making a temporary file and renaming it leaves `.tmp...` behind, which no reader looks at. In the
/// checkpoints, which are the large ones, these go with their fold; only small ones of the manifest, the folds' final
/// files and the logs can stay.
fn assert_nothing_matters_beside(killed: &Path, undisturbed: &Path) {
    let is_leftover = |name: &String| name.rsplit('/').next().unwrap().starts_with(".tmp");
    let (leftovers, names): (Vec<String>, Vec<String>) = files(killed).into_keys().partition(is_leftover);
    assert!(names.into_iter().eq(files(undisturbed).into_keys()));
    assert!(leftovers.iter().all(|name| !name.starts_with("checkpoints")), "{leftovers:?}");
    assert!(leftovers.len() <= KILLS, "{leftovers:?}");
}
