//! `eloc evaluate`.

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf, process::Stdio, time::SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    pictures::{self, named, plain_folder, tar_gz},
    tool::{
        CLASSES, FOLDS, PER_CLASS, TEST_PER_CLASS, Trained, evaluate, json, json_lines, path, refused, score, scratch,
        stdout,
    },
};

const SCORES: [&str; 9] =
    ["eloc", "eloc-pooled", "eloc-unperturbed", "odin-fold1", "max-softmax", "max-logit", "energy", "entropy", "gen"];
const METRICS: [&str; 5] = ["fpr_at_95_tpr", "detection_error", "auroc", "aupr_in", "aupr_out"];

/// Evaluates the shared ensemble with the data folder `data` and returns the table and the report.
fn evaluated(data: &Path, ood: &[&str], flags: &[&str]) -> (String, Value) {
    let Trained { images, weights, .. } = Trained::shared();
    let file = data.join("report.json");
    let table = stdout(evaluate(weights, images, data, ood).args(["--json", path(&file)]).args(flags));
    (table, json(&file))
}

/// The report without what is different in every run.
fn without_provenance(mut report: Value) -> Value {
    report["provenance"].take();
    report
}

/// The same six images of an unknown class as a folder, a zip and a tar.gz.
fn three_kinds() -> (TempDir, [PathBuf; 3]) {
    let dir = scratch();
    let [folder, zip, tar] = ["some", "some.zip", "some.tar.gz"].map(|name| dir.path().join(name));
    plain_folder(&folder, 100, 6);
    fs::write(&zip, pictures::zip(&named(100, 6))).unwrap();
    fs::write(&tar, tar_gz(&named(100, 6))).unwrap();
    (dir, [folder, zip, tar])
}

#[test]
fn every_score_is_measured_on_every_set() {
    let (dir, [folder, zip, tar]) = three_kinds();
    let (table, report) =
        evaluated(dir.path(), &[path(&folder), path(&zip), path(&tar), "uniform:50", "gaussian:50"], &[]);

    assert_eq!(
        (&report["trained_on"], &report["network"], &report["folds"]),
        (&"pictures".into(), &"compact-4-4-4".into(), &FOLDS.into())
    );
    assert_eq!(report["id"]["images"], CLASSES * TEST_PER_CLASS);
    let accuracies = report["id"]["fold_accuracies"].as_array().unwrap();
    assert_eq!(accuracies.len(), FOLDS);
    for accuracy in accuracies.iter().chain([&report["id"]["accuracy"]]) {
        assert!((0.0..=1.0).contains(&accuracy.as_f64().unwrap()), "{accuracy}");
    }

    let sets = report["ood"].as_array().unwrap();
    let found: Vec<(&str, u64)> =
        sets.iter().map(|set| (set["name"].as_str().unwrap(), set["images"].as_u64().unwrap())).collect();
    assert_eq!(found, [("some", 6), ("some.zip", 6), ("some.tar.gz", 6), ("uniform", 50), ("gaussian", 50)]);
    for set in sets {
        let rows = set["scores"].as_array().unwrap();
        assert!(rows.iter().map(|row| row["score"].as_str().unwrap()).eq(SCORES));
        for row in rows {
            for metric in METRICS {
                let value = row[metric].as_f64().unwrap_or_else(|| panic!("{metric} is a number in {row}"));
                assert!((0.0..=1.0).contains(&value), "{metric} of {row}");
            }
        }
        let name = set["name"].as_str().unwrap();
        assert!(table.contains(&format!("\n{name} ({} images)\n", set["images"])), "{table}");
    }
    // The same images, in whatever they come.
    assert_eq!(sets[0]["scores"], sets[1]["scores"]);
    assert_eq!(sets[0]["scores"], sets[2]["scores"]);
    assert_ne!(sets[0]["scores"], sets[3]["scores"]);

    // The table shows the same numbers in percent.
    let eloc = table.lines().find(|line| line.starts_with("  ELOC  ")).unwrap();
    let cells: Vec<String> =
        METRICS.map(|metric| format!("{:.2}", 100.0 * sets[0]["scores"][0][metric].as_f64().unwrap())).into();
    assert_eq!(eloc.split_whitespace().skip(1).collect::<Vec<_>>(), cells);
}

#[test]
fn second_run_takes_the_outputs_of_the_first() {
    let dir = scratch();
    let written = || -> BTreeMap<PathBuf, SystemTime> {
        let files = fs::read_dir(dir.path().join("logits")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|file| (file.clone(), fs::metadata(&file).unwrap().modified().unwrap())).collect()
    };
    let run = || without_provenance(evaluated(dir.path(), &["uniform:30"], &[]).1);
    let (first, after_first) = (run(), written());
    assert_eq!(after_first.len(), 2 * FOLDS, "a file for each fold and set");
    assert_eq!(run(), first);
    assert_eq!(written(), after_first, "outputs at hand are not computed again");

    // What was cut off or changed is computed again.
    let file = after_first.keys().next().unwrap();
    let whole = fs::read(file).unwrap();
    // Between the seconds and the hash.
    let logits = 8..whole.len() - 64;
    let mut changed = whole.clone();
    changed[logits.start] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &changed] {
        fs::write(file, damaged).unwrap();
        assert_eq!(run(), first);
        assert!(fs::read(file).unwrap()[logits.clone()] == whole[logits.clone()]);
    }
}

/// Of many images some are made, scored and kept at a time.
#[test]
fn larger_set_begins_with_the_outputs_of_a_smaller_one() {
    let dir = scratch();
    let kept = || fs::read_dir(dir.path().join("logits")).unwrap().count();
    let (table, _) = evaluated(dir.path(), &["uniform:10000"], &[]);
    assert!(table.contains("\nuniform (10000 images)\n"), "{table}");
    assert_eq!(kept(), 2 * FOLDS);
    let (table, _) = evaluated(dir.path(), &["uniform:10003"], &[]);
    assert!(table.contains("\nuniform (10003 images)\n"), "{table}");
    assert_eq!(kept(), 3 * FOLDS);
}

/// The time is that of the run which computed them.
#[test]
fn outputs_of_an_earlier_run_bring_their_seconds() {
    let dir = scratch();
    let seconds = || evaluated(dir.path(), &["uniform:30"], &[]).1["provenance"]["seconds"].as_f64().unwrap();
    let first = seconds();
    assert!(first > 0.0);
    assert!((seconds() - first).abs() < 1e-9 * first);
}

#[test]
fn outputs_that_cannot_be_kept_are_no_error() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    fs::write(dir.path().join("logits"), b"in the way").unwrap();
    let output = evaluate(weights, images, dir.path(), &["uniform:5"]).output().unwrap();
    assert!(output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.matches("could not be written").count(), 1, "{message}");
}

#[test]
fn markdown_has_a_table_of_the_method_one_of_all_scores_and_how_it_was_made() {
    let dir = scratch();
    let (markdown, report) = evaluated(dir.path(), &["uniform:20", "gaussian:20"], &["--markdown"]);
    let tables: Vec<Vec<&str>> = markdown
        .split("\n\n")
        .map(|part| part.lines().filter(|line| line.starts_with('|')).collect())
        .filter(|rows: &Vec<&str>| !rows.is_empty())
        .collect();
    assert_eq!(tables.len(), 2, "{markdown}");
    for table in &tables {
        assert_eq!(table.len(), 2 + 2, "a heading, a line and a row for each set: {markdown}");
        let columns = table[0].matches('|').count();
        assert!(table.iter().all(|row| row.matches('|').count() == columns), "{markdown}");
    }
    assert_eq!(tables[0][0], "| out-of-distribution set | images | FPR95 | det. err. | AUROC | AUPR-in | AUPR-out |");
    let auroc = 100.0 * report["ood"][0]["scores"][0]["auroc"].as_f64().unwrap();
    assert!(tables[0][2].starts_with("| uniform | 20 | ") && tables[0][2].contains(&format!("| {auroc:.2} |")));
    assert_eq!(tables[1][0].matches('|').count(), SCORES.len() + 2);
    assert!(tables[1][2].starts_with(&format!("| uniform | {auroc:.2} / ")), "{markdown}");
    assert!(markdown.contains("\nMade by `eloc evaluate --device cpu "), "{markdown}");
}

/// With 12 in-distribution images no threshold accepts between 94.95% and 95.05% of them.
#[test]
fn reference_definition_is_said_and_used() {
    let dir = scratch();
    let (table, report) = evaluated(dir.path(), &["uniform:30"], &["--definition", "reference"]);
    assert_eq!(report["definition"], "reference");
    assert!(table.contains("reference definitions"), "{table}");
    let row = &report["ood"][0]["scores"][0];
    assert_eq!(row["fpr_at_95_tpr"], Value::Null);
    assert!(METRICS[1..].iter().all(|metric| (0.0..=1.0).contains(&row[*metric].as_f64().unwrap())), "{row}");
    let eloc = table.lines().find(|line| line.starts_with("  ELOC  ")).unwrap();
    assert_eq!(eloc.split_whitespace().nth(1), Some("-"));
}

#[test]
fn other_perturbation_is_said_and_computed_anew() {
    let dir = scratch();
    let cached = || fs::read_dir(dir.path().join("logits")).unwrap().count();
    evaluated(dir.path(), &["uniform:30"], &[]);
    let (table, report) = evaluated(dir.path(), &["uniform:30"], &["--gradient", "entropy"]);
    assert_eq!(report["odin"]["gradient"], "entropy");
    assert!(table.contains("entropy gradient"), "{table}");
    assert_eq!(cached(), 2 * 2 * FOLDS);
}

#[test]
fn epsilon_0_is_the_score_without_perturbation() {
    let dir = scratch();
    let (_, report) = evaluated(dir.path(), &["uniform:50", "gaussian:50"], &["--epsilon", "0"]);
    assert_eq!(report["odin"]["epsilon"], 0.0);
    for set in report["ood"].as_array().unwrap() {
        let rows = ["eloc", "eloc-unperturbed"].map(|score| SCORES.iter().position(|other| *other == score).unwrap());
        let [perturbed, plain] = rows.map(|row| METRICS.map(|metric| &set["scores"][row][metric]));
        assert_eq!(perturbed, plain);
    }
}

#[test]
fn limit_takes_the_first_images_of_each_set() {
    let dir = scratch();
    let (_, report) = evaluated(dir.path(), &["uniform:30", "gaussian:3"], &["--limit", "5"]);
    assert_eq!(
        (&report["id"]["images"], &report["ood"][0]["images"], &report["ood"][1]["images"]),
        (&5.into(), &5.into(), &3.into())
    );
    let (_, first) = evaluated(dir.path(), &["uniform:5", "gaussian:3"], &["--limit", "5"]);
    assert_eq!(report["ood"], first["ood"]);
}

#[test]
fn limit_0_is_refused() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let output = evaluate(weights, images, dir.path(), &["uniform:5"]).args(["--limit", "0"]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)) && message.contains("--limit"), "{message}");
}

#[test]
fn set_of_other_classes_is_refused() {
    let dir = scratch();
    let other = dir.path().join("other");
    pictures::class_folder(&other, CLASSES - 1, 3);
    let parts = ["--id", path(&other), "expected the 6 classes of the weights", "found 5"];
    refused(&mut evaluate(&Trained::shared().weights, &other, dir.path(), &["uniform:5"]), &parts);
}

/// The manifest knows the name of the folder that the ensemble was trained on, but not where it is.
#[test]
fn missing_id_of_an_ensemble_of_a_folder_is_asked_for_by_name() {
    let weights = path(&Trained::shared().weights);
    let dir = scratch();
    let mut command = super::tool::eloc();
    command.current_dir(dir.path()).args(["evaluate", "--device", "cpu", "--weights", weights, "--ood", "uniform:5"]);
    refused(&mut command, &["--id", "pictures"]);
}

#[test]
fn unknown_set_is_refused() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let parts = [
        "`nothing`: expected uniform, gaussian, patterns, fractals, shapes, cifar10, cifar100, a path",
        path(dir.path()),
        "found none",
    ];
    refused(&mut evaluate(weights, images, dir.path(), &["nothing"]), &parts);
    for count in ["many", "0", "1000001", "18446744073709551615"] {
        let name = format!("uniform:{count}");
        let parts = ["expected a number of images from 1 to 1000000", &format!("`{count}`")];
        refused(&mut evaluate(weights, images, dir.path(), &[&name]), &parts);
    }
    refused(&mut evaluate(weights, images, dir.path(), &[""]), &["expected the name or the path of a set of images"]);
}

#[test]
fn sets_are_found_by_their_names_in_the_data_folder() {
    let dir = scratch();
    plain_folder(&dir.path().join("Imagenet/test"), 100, 3);
    fs::write(dir.path().join("iSUN.tar.gz"), tar_gz(&named(100, 4))).unwrap();
    let (_, report) = evaluated(dir.path(), &["Imagenet", "iSUN"], &[]);
    let found: Vec<(&Value, &Value)> =
        report["ood"].as_array().unwrap().iter().map(|set| (&set["name"], &set["images"])).collect();
    assert_eq!(found, [(&"Imagenet".into(), &3.into()), (&"iSUN".into(), &4.into())]);
}

/// A device that is always full, which nobody can tell before writing to it.
#[cfg(target_os = "linux")]
#[test]
fn report_that_could_not_be_written_does_not_cost_the_table() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let command = &mut evaluate(weights, images, dir.path(), &["uniform:5"]);
    let output = command.args(["--json", "/dev/full"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stdout).unwrap().contains("uniform (5 images)"),
        "the table is printed all the same"
    );
    // The line about the throughput comes before.
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("/dev/full: could not be written"), "{message}");
}

/// What the page exports, made from a report of the command line's on the images in the folder `ood`: these come in another
/// order and from deeper down, with `off` added to the score of each. The known images come from a file of CIFAR's.
fn page_results(report: &Value, ood: &Path, off: f64) -> Value {
    let lines = json_lines(&stdout(&mut score(&Trained::shared().weights, &[ood], &["--json", "--temperature", "10"])));
    let name =
        |line: &Value| format!("dropped/test{}", line["image"].as_str().unwrap().strip_prefix(path(ood)).unwrap());
    let ood = serde_json::json!({
        "images": lines.iter().rev().map(name).collect::<Vec<_>>(),
        "scores": lines.iter().rev().map(|line| line["score"].as_f64().unwrap() + off).collect::<Vec<_>>(),
    });
    let count = report["id"]["images"].as_u64().unwrap();
    let images: Vec<String> = (0..count).map(|index| format!("cifar-10-batches-bin/test_batch.bin {index}")).collect();
    let id = serde_json::json!({ "images": images, "scores": vec![-1.5; images.len()] });
    serde_json::json!({ "format": 1, "weights": "w", "report": report, "id": id, "ood": [ood] })
}

#[test]
fn named_images_are_left_out() {
    let (dir, [folder, zip, _]) = three_kinds();
    let file = dir.path().join("names.txt");
    let names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    fs::write(&file, format!("{}\n\n{}\nother.png\n", names[0], names[1])).unwrap();
    let (table, report) = evaluated(dir.path(), &[path(&folder), path(&zip)], &["--exclude", path(&file)]);
    for set in report["ood"].as_array().unwrap() {
        assert_eq!((&set["images"], &set["excluded"]), (&4.into(), &2.into()));
    }
    assert!(table.contains("\nsome without 2 (4 images)"), "{table}");
    let Trained { images, weights, .. } = Trained::shared();
    let evaluate = |text: &str, parts: &[&str]| {
        fs::write(&file, text).unwrap();
        refused(evaluate(weights, images, dir.path(), &[path(&folder)]).args(["--exclude", path(&file)]), parts);
    };
    evaluate("other.png\n", &["names.txt", "such as `other.png`"]);
    evaluate("\n", &["names.txt", "found none"]);
    evaluate(&names.join("\n"), &["names.txt", "found all of them"]);
}

/// A kilobyte for each set and score, from which the page draws.
#[test]
fn results_hold_what_plots_need() {
    let dir = scratch();
    let (_, report) = evaluated(dir.path(), &["uniform:50"], &[]);
    for score in report["ood"][0]["scores"].as_array().unwrap() {
        let curves = &score["curves"];
        let sum =
            |side: &str| curves[side].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("id"), sum("ood")), ((CLASSES * TEST_PER_CLASS) as u64, 50));
        assert_eq!(curves["points"].as_array().unwrap().last().unwrap().as_array().unwrap()[1..], [1.0, 1.0]);
    }
    // A list stays on a line.
    let text = fs::read_to_string(dir.path().join("report.json")).unwrap();
    assert!(text.lines().any(|line| line.trim_start().starts_with("\"points\": [[")), "{text}");
}

#[test]
fn the_pages_results_are_done_again_and_compared() {
    let (dir, [folder, ..]) = three_kinds();
    let (_, mut report) = evaluated(dir.path(), &[path(&folder)], &["--temperature", "10"]);
    let file = dir.path().join("page.json");
    let write = |report: &Value| fs::write(&file, page_results(report, &folder, 0.25).to_string()).unwrap();
    write(&report);

    // Settings are the file's.
    let (table, again) = evaluated(dir.path(), &[path(&folder)], &["--compare", path(&file)]);
    assert_eq!(without_provenance(again), without_provenance(report.clone()));
    let is_row = |line: &&str| line.contains(" difference ") && !line.contains("largest");
    let differences: Vec<&str> = table.lines().filter(is_row).collect();
    assert_eq!(differences.len(), SCORES.len());
    assert!(differences.iter().all(|line| line.matches("+0.0000").count() >= 4), "{table}");
    assert!(table.contains("scores of 12 of 12 images compared"), "{table}");
    assert!(table.contains("scores of 6 of 6 images compared, largest difference 2.50e-1"), "{table}");

    // Other numbers in the file show.
    let auroc = report["ood"][0]["scores"][0]["auroc"].as_f64().unwrap();
    report["ood"][0]["scores"][0]["auroc"] = (auroc - 0.125).into();
    write(&report);
    let (table, _) = evaluated(dir.path(), &[path(&folder)], &["--compare", path(&file)]);
    assert_eq!(table.matches("+12.5000").count(), 1, "{table}");
}

#[test]
fn generated_sets_of_the_file_are_made_again() {
    let dir = scratch();
    let (_, report) = evaluated(dir.path(), &["uniform:9"], &[]);
    let file = dir.path().join("report.json");
    let (table, again) = evaluated(dir.path(), &[], &["--compare", path(&file)]);
    assert_eq!(again["ood"], report["ood"]);
    assert!(table.contains("\nuniform (9 images; in the file uniform, 9 images)"), "{table}");
}

#[test]
fn results_are_done_again_with_as_many_folds() {
    let dir = scratch();
    let (_, report) = evaluated(dir.path(), &["uniform:9"], &["--folds", "1"]);
    let file = dir.path().join("one.json");
    fs::write(&file, report.to_string()).unwrap();
    let (_, again) = evaluated(dir.path(), &[], &["--compare", path(&file)]);
    assert_eq!(without_provenance(again), without_provenance(report));
}

#[test]
fn results_with_an_epsilon_for_each_set_are_refused() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let (_, mut report) = evaluated(dir.path(), &["uniform:9"], &[]);
    report["ood"][0]["epsilon"] = 0.003.into();
    let file = dir.path().join("reference.json");
    fs::write(&file, report.to_string()).unwrap();
    let parts = [path(&file), "expected one epsilon for all sets"];
    refused(evaluate(weights, images, dir.path(), &[]).args(["--compare", path(&file)]), &parts);
}

#[test]
fn results_that_are_none_are_refused() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let file = dir.path().join("page.json");
    fs::write(&file, "{\"format\": 7}").unwrap();
    let parts = [path(&file), "expected results written by the page", "format: expected 1, found 7"];
    refused(evaluate(weights, images, dir.path(), &[]).args(["--compare", path(&file)]), &parts);
}

#[test]
fn first_folds_are_measured_alone() {
    let dir = scratch();
    let (_, report) = evaluated(dir.path(), &["uniform:20"], &["--folds", "1"]);
    assert_eq!(report["folds"], 1);
    assert_eq!(report["id"]["fold_accuracies"].as_array().unwrap().len(), 1);
    let Trained { images, weights, .. } = Trained::shared();
    let mut command = evaluate(weights, images, dir.path(), &["uniform:20"]);
    refused(command.args(["--folds", "4"]), &["expected at least the 4 trained folds that were asked for, found 3"]);
}

#[test]
fn published_protocol_asks_for_its_ten_thousand_images() {
    let dir = scratch();
    let Trained { images, weights, .. } = Trained::shared();
    let mut command = evaluate(weights, images, dir.path(), &["uniform:10000"]);
    refused(command.args(["--protocol", "reference"]), &["expected 10000 images", "found 12"]);
}

/// Near-by classes are the usual hard case.
#[test]
fn test_images_of_cifar_are_a_set_of_unknown_ones() {
    let dir = scratch();
    pictures::cifar10_folder(dir.path(), &pictures::cifar10_files(1));
    let (_, report) = evaluated(dir.path(), &["cifar10"], &[]);
    assert_eq!((&report["ood"][0]["name"], &report["ood"][0]["images"]), (&"cifar10".into(), &10.into()));
    let Trained { images, weights, .. } = Trained::shared();
    refused(&mut evaluate(weights, images, dir.path(), &["cifar100"]), &["`eloc data cifar100` fetches it"]);
}

/// Another share of the images would be for testing then, with most of them trained on.
#[test]
fn folder_with_other_images_than_were_trained_on_is_refused() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let changed = dir.path().join("pictures");
    pictures::class_folder(&changed, CLASSES, PER_CLASS);
    stdout(&mut evaluate(weights, &changed, dir.path(), &["uniform:5"]));
    fs::copy(images.join("class-0/00.png"), changed.join("class-0/zz.png")).unwrap();
    refused(&mut evaluate(weights, &changed, dir.path(), &["uniform:5"]), &["--id: expected pictures", "test/CLASS"]);
}

#[test]
fn second_set_of_a_name_has_its_path_for_a_name() {
    let dir = scratch();
    let folders = ["one/images", "two/images"].map(|name| dir.path().join(name));
    for (kind, folder) in (100..).zip(&folders) {
        plain_folder(folder, kind, 6);
    }
    let (_, report) = evaluated(dir.path(), &folders.each_ref().map(|folder| path(folder)), &[]);
    assert_eq!((&report["ood"][0]["name"], &report["ood"][1]["name"]), (&"images".into(), &path(&folders[1]).into()));
}

#[test]
fn set_that_is_missing_is_refused_before_anything_is_scored() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let sets = ["uniform:5", "iSUN"];
    refused(&mut evaluate(weights, images, dir.path(), &sets), &["`iSUN`", "`eloc data iSUN` fetches it"]);
    assert!(!dir.path().join("logits").exists());
}

#[test]
fn report_is_written_also_where_nobody_reads_the_table() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let file = dir.path().join("report.json");
    let unread = |file: &Path| {
        let mut command = evaluate(weights, images, dir.path(), &["uniform:5"]);
        command.args(["--json", path(file)]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        child.wait().unwrap()
    };
    assert!(unread(&file).success());
    assert_eq!(json(&file)["ood"][0]["images"], 5);
    assert_eq!(unread(&file.join("report.json")).code(), Some(1));
}

#[cfg(unix)]
#[test]
fn set_whose_path_is_not_unicode_is_measured() {
    use std::os::unix::ffi::OsStrExt;
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let folder = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    pictures::plain_folder(&folder, 30, 3);
    let mut command = evaluate(weights, images, dir.path(), &[]);
    let text = stdout(command.arg("--ood").arg(&folder));
    assert!(text.contains("caf\u{fffd}"), "{text}");
}
