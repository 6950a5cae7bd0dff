//! `eloc score`.

use std::{fs, path::Path};

use image::RgbImage;
use serde_json::Value;

use super::{
    pictures::{self, damaged_png, named, picture, plain_folder, png, png_of, tar_gz},
    tool::{CLASSES, FOLDS, Trained, json_lines, manifest, path, refused, score, scratch, stdout},
};

/// The lines of JSON for some images.
fn scored(images: &[&Path], flags: &[&str]) -> Vec<Value> {
    json_lines(&stdout(score(&Trained::shared().weights, images, &["--json"]).args(flags)))
}

fn number(line: &Value, field: &str) -> f64 {
    line[field].as_f64().unwrap_or_else(|| panic!("{field} is a number in {line}"))
}

fn scores(lines: &[Value]) -> Vec<f64> {
    lines.iter().map(|line| number(line, "score")).collect()
}

#[test]
fn files_folders_and_archives_give_a_line_for_each_image() {
    let Trained { weights, .. } = Trained::shared();
    let dir = scratch();
    let (folder, zip, tar) = (dir.path().join("some"), dir.path().join("some.zip"), dir.path().join("some.tar.gz"));
    plain_folder(&folder, 2, 3);
    fs::write(&zip, pictures::zip(&named(2, 3))).unwrap();
    fs::write(&tar, tar_gz(&named(2, 3))).unwrap();

    let text = stdout(&mut score(weights, &[&folder, &folder.join("01.png"), &zip, &tar], &[]));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("score\tverdict\tclass\tprobability\timage"));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split('\t').collect()).collect();
    let names: Vec<&str> = rows.iter().map(|row| row[4]).collect();
    let three = |of: &Path| ["00.png", "01.png", "02.png"].map(|name| path(&of.join(name)).to_owned());
    assert_eq!(names, [&three(&folder)[..], &three(&folder)[1..2], &three(&zip), &three(&tar)].concat());
    // A file, and the same file in a folder or an archive, are one image.
    let results: Vec<&[&str]> = rows.iter().map(|row| &row[..4]).collect();
    assert_eq!(results[3], results[1]);
    assert_eq!(results[4..7], results[..3]);
    assert_eq!(results[7..], results[..3]);
}

#[test]
fn fields_of_a_line_agree_with_each_other_and_with_the_manifest() {
    let Trained { images, weights, .. } = Trained::shared();
    let manifest = manifest(weights);
    let threshold = manifest["threshold"].as_f64().unwrap();
    let lines = scored(&[images], &[]);
    assert_eq!(lines.len(), 72);
    for line in &lines {
        let score = number(line, "score");
        let folds: Vec<f64> =
            line["fold_scores"].as_array().unwrap().iter().map(|fold| fold.as_f64().unwrap()).collect();
        assert_eq!(folds.len(), FOLDS);
        // The same three numbers are added, perhaps in another order.
        assert!((score - folds.iter().sum::<f64>()).abs() < 1e-14, "{line}");
        assert_eq!(line["in_distribution"], score >= threshold, "{line}");
        assert!(manifest["classes"].as_array().unwrap().contains(&line["class"]), "{line}");
        // The most probable of all classes is at least as probable as the average one.
        assert!((1.0 / CLASSES as f64..=1.0).contains(&number(line, "probability")), "{line}");
    }
    assert_eq!(lines[0]["image"], path(&images.join("class-0/00.png")));
}

/// The threshold lets 95% of the held-out training images in, so it lies among the scores of these classes.
#[test]
fn verdict_follows_the_threshold() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    Trained::shared().copy(dir.path());
    let file = dir.path().join("manifest.json");
    let rows = |threshold: Value| {
        let mut manifest = manifest(weights);
        manifest["threshold"] = threshold;
        fs::write(&file, manifest.to_string()).unwrap();
        let text = stdout(&mut score(dir.path(), &[images], &[]));
        text.lines().skip(1).map(|line| line.split('\t').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut sorted = scores(&scored(&[images], &[]));
    sorted.sort_by(f64::total_cmp);
    let verdicts = rows(sorted[10].into());
    assert_eq!(
        verdicts.iter().filter(|verdict| *verdict == "unknown").count(),
        sorted.partition_point(|&score| score < sorted[10])
    );
    assert!(verdicts.iter().any(|verdict| verdict == "known"));
    assert!(rows(Value::Null).iter().all(|verdict| verdict == "-"));
}

#[test]
fn other_settings_than_those_of_the_threshold_give_no_verdict() {
    let Trained { images, .. } = Trained::shared();
    for flags in [["--temperature", "10"], ["--epsilon", "0"], ["--gradient", "entropy"]] {
        assert!(scored(&[images], &flags).iter().all(|line| line["in_distribution"] == Value::Null), "{flags:?}");
    }
    // Those of the weights, said once more.
    assert!(scored(&[images], &["--temperature", "1000"]).iter().all(|line| line["in_distribution"].is_boolean()));
}

#[test]
fn folder_named_like_a_generated_set_is_a_folder() {
    let dir = scratch();
    plain_folder(&dir.path().join("uniform"), 2, 3);
    let lines = stdout(score(&Trained::shared().weights, &[Path::new("uniform")], &[]).current_dir(dir.path()));
    assert_eq!(lines.lines().count(), 4, "{lines}");
}

#[test]
fn what_cannot_be_read_does_not_keep_the_others_from_being_scored() {
    let Trained { weights, .. } = Trained::shared();
    let dir = scratch();
    let [damaged, missing, sound] = ["damaged.png", "missing.png", "sound.png"].map(|name| dir.path().join(name));
    fs::write(&damaged, damaged_png()).unwrap();
    fs::write(&sound, png(1, 0)).unwrap();
    let output = score(weights, &[&damaged, &missing, &sound], &["--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (lines, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(json_lines(&lines)[0]["image"], path(&sound));
    assert!(errors.contains(path(&damaged)) && errors.contains(path(&missing)), "{errors}");
}

/// A score moves by about 1e-4 times the change of a logit at T = 1000, and single-precision logits of another batch
/// size are off by about 1e-6. The scores of different images are about 1e-6 and more apart.
#[test]
fn score_of_an_image_does_not_depend_on_the_images_beside_it() {
    let Trained { images, .. } = Trained::shared();
    let together = scored(&[images], &[]);
    for index in [0, 40, 71] {
        let name = together[index]["image"].as_str().unwrap();
        let alone = scored(&[Path::new(name)], &[]);
        let difference = number(&alone[0], "score") - number(&together[index], "score");
        assert!(difference.abs() < 1e-8, "{name}: {difference}");
    }
}

#[test]
fn images_of_other_sizes_are_cropped_or_resized() {
    let dir = scratch();
    let write = |name: &str, image: &RgbImage| {
        let file = dir.path().join(name);
        fs::write(&file, png_of(image)).unwrap();
        number(&scored(&[&file], &[])[0], "score")
    };
    let plain = write("plain.png", &picture(1, 0));
    // A border of 2 pixels, as in the "crop" sets of ODIN, is cut off.
    let mut bordered = RgbImage::from_pixel(36, 36, image::Rgb([255, 0, 0]));
    image::imageops::replace(&mut bordered, &picture(1, 0), 2, 2);
    assert_eq!(write("bordered.png", &bordered), plain);
    // Twice the size, each pixel four times: the filter blurs it a little.
    let doubled = RgbImage::from_fn(64, 64, |x, y| *picture(1, 0).get_pixel(x / 2, y / 2));
    let difference = (write("doubled.png", &doubled) - plain).abs();
    assert!(0.0 < difference && difference < 0.02 * plain.abs(), "{difference} of {plain}");
}

#[test]
fn settings_of_the_perturbation_change_the_scores() {
    let Trained { images, .. } = Trained::shared();
    let plain = scores(&scored(&[images], &[]));
    for flags in [["--gradient", "entropy"], ["--epsilon", "0"], ["--temperature", "1"]] {
        assert_ne!(scores(&scored(&[images], &flags)), plain, "{flags:?}");
    }
}

#[test]
fn damaged_image_is_skipped_and_its_reason_told() {
    let Trained { weights, .. } = Trained::shared();
    let dir = scratch();
    plain_folder(dir.path(), 1, 3);
    fs::write(dir.path().join("01.png"), damaged_png()).unwrap();
    fs::write(dir.path().join("notes.txt"), b"no image").unwrap();
    let output = score(weights, &[dir.path()], &["--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines = json_lines(std::str::from_utf8(&output.stdout).unwrap());
    let read = ["00.png", "02.png"].map(|name| path(&dir.path().join(name)).to_owned());
    assert_eq!(lines.iter().map(|line| &line["image"]).collect::<Vec<_>>(), read.each_ref());
    let message = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(message.lines().count(), 2, "{message}");
    for (line, name) in message.lines().zip(["01.png", "notes.txt"]) {
        assert!(
            line.starts_with(&format!("eloc: {}: image: expected a sound", path(&dir.path().join(name)))),
            "{line}"
        );
    }
}

#[cfg(unix)]
#[test]
fn name_of_a_file_cannot_pass_for_a_line() {
    let dir = scratch();
    fs::write(dir.path().join("x\n0.9\tknown.png"), png(1, 0)).unwrap();
    let text = stdout(&mut score(&Trained::shared().weights, &[dir.path()], &[]));
    assert_eq!(text.lines().count(), 2, "{text}");
    let image = text.lines().last().unwrap().split('\t').nth(4);
    assert_eq!(image, Some(format!("{}/x\\n0.9\\tknown.png", path(dir.path())).as_str()));
}

/// Batches of 100 are printed one after the other.
#[test]
fn lines_of_more_images_than_a_batch_are_in_order() {
    let Trained { weights, .. } = Trained::shared();
    let dir = scratch();
    plain_folder(dir.path(), 7, 103);
    let lines = scored(&[dir.path()], &[]);
    let mut names: Vec<String> =
        (0..103).map(|index| path(&dir.path().join(format!("{index:02}.png"))).to_owned()).collect();
    names.sort();
    assert_eq!(lines.iter().map(|line| line["image"].as_str().unwrap()).collect::<Vec<_>>(), names);
    let last = json_lines(&stdout(&mut score(weights, &[Path::new(&names[102])], &["--json"])));
    let difference = number(&last[0], "score") - number(&lines[102], "score");
    assert!(difference.abs() < 1e-8, "{difference}");
}

/// The same batches in the same order, and so the same digits.
#[test]
fn files_one_by_one_are_scored_like_their_folder() {
    let dir = scratch();
    plain_folder(dir.path(), 7, 103);
    let folder = scored(&[dir.path()], &[]);
    let names: Vec<&Path> = folder.iter().map(|line| Path::new(line["image"].as_str().unwrap())).collect();
    assert_eq!(scored(&names, &[]), folder);
    let reversed: Vec<&Path> = names.iter().rev().copied().collect();
    let lines = scored(&reversed, &[]);
    assert!(lines.iter().map(|line| Path::new(line["image"].as_str().unwrap())).eq(reversed));
}

#[test]
fn image_that_is_not_there_is_refused() {
    let Trained { weights, .. } = Trained::shared();
    refused(
        &mut score(weights, &[Path::new("nowhere.png")], &[]),
        &["nowhere.png", "expected an image", "found nothing"],
    );
}

#[test]
fn damaged_image_alone_is_refused() {
    let dir = scratch();
    let file = dir.path().join("half.png");
    let half = damaged_png();
    assert!(png(0, 0).starts_with(&half));
    fs::write(&file, half).unwrap();
    refused(&mut score(&Trained::shared().weights, &[&file], &[]), &[path(&file), "expected a sound PNG"]);
}

/// The names in the lines of JSON of a run, and its lines on the error stream, without the folder that both begin with.
fn names_and_errors(file: &Path) -> (Vec<String>, Vec<String>) {
    let output = score(&Trained::shared().weights, &[file], &["--json"]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!errors.is_empty())), "{errors}");
    let short = |text: &str| text.replace(&format!("{}/", path(file)), "");
    let lines = json_lines(std::str::from_utf8(&output.stdout).unwrap());
    let names = lines.iter().map(|line| short(line["image"].as_str().unwrap())).collect();
    (names, errors.lines().map(short).collect())
}

#[test]
fn links_in_an_archive_are_images_or_named() {
    let dir = scratch();
    let file = dir.path().join("links.tar");
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, link: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        if link.is_empty() {
            archive.append_data(&mut header, name, bytes).unwrap();
        } else {
            archive.append_link(&mut header, name, link).unwrap();
        }
    };
    add(tar::EntryType::Regular, "1.png", "", &png(1, 0));
    add(tar::EntryType::Link, "0.png", "1.png", b"");
    add(tar::EntryType::Symlink, "2.png", "1.png", b"");
    add(tar::EntryType::Symlink, ".hidden.png", "1.png", b"");
    fs::write(&file, archive.into_inner().unwrap()).unwrap();
    let (names, errors) = names_and_errors(&file);
    assert_eq!(names, ["0.png", "1.png"]);
    let expected = "eloc: 2.png: archive entry: expected a file that can be read, found a symbolic link to 1.png";
    assert_eq!(errors, [expected]);
    let output = score(&Trained::shared().weights, &[&file], &["--json"]).output().unwrap();
    let lines = json_lines(std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!(lines[0]["score"], lines[1]["score"]);
}

#[test]
fn every_image_of_a_cifar_file_has_a_line() {
    let dir = scratch();
    pictures::cifar10_folder(dir.path(), &pictures::cifar10_files(2)[4..]);
    let folder = dir.path().join("cifar-10-batches-bin");
    fs::write(folder.join("batches.meta.txt"), b"airplane").unwrap();
    let (names, errors) = names_and_errors(&folder);
    assert_eq!((names.len(), errors.len()), (40, 0));
    assert_eq!((names[0].as_str(), names[37].as_str()), ("data_batch_5.bin 0", "test_batch.bin 17"));

    let file = folder.join("test_batch.bin");
    let lines = scored(&[&file], &[]);
    assert_eq!(lines[17]["image"], format!("{} 17", path(&file)));
    // Record 17 is image 11 of class 7.
    let image = dir.path().join("same.png");
    fs::write(&image, png(7, 11)).unwrap();
    let difference = number(&lines[17], "score") - number(&scored(&[&image], &[])[0], "score");
    assert!(difference.abs() < 1e-8, "{difference}");
}

#[test]
fn control_characters_of_names_do_not_reach_the_terminal() {
    let dir = scratch();
    let file = dir.path().join("odd.zip");
    let name = "\u{1b}]0;title\u{7}bad\nline.png".to_owned();
    fs::write(&file, pictures::zip(&[(name, b"x".to_vec()), ("good\u{1b}[2J.png".to_owned(), png(1, 0))])).unwrap();
    let output = score(&Trained::shared().weights, &[&file], &[]).output().unwrap();
    let (lines, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((lines.lines().count(), errors.lines().count()), (2, 1), "{lines}{errors}");
    assert!(lines.ends_with("good\\u{1b}[2J.png\n"), "{lines}");
    assert!(errors.contains(r"\u{1b}]0;title\u{7}bad\nline.png: image: expected"), "{errors}");
}

#[test]
fn every_file_is_named_where_none_can_be_read() {
    let dir = scratch();
    for number in 0..40 {
        fs::write(dir.path().join(format!("{number:02}.txt")), b"text").unwrap();
    }
    let (names, errors) = names_and_errors(dir.path());
    assert!(names.is_empty());
    assert_eq!(errors.len(), 38, "{errors:?}");
    assert!(errors[35].starts_with("eloc: 35.txt: image: expected a sound PNG"), "{errors:?}");
    assert_eq!(errors[36], "eloc: and 4 other files");
    assert!(errors[37].ends_with("expected at least one readable image, found 40 other files"), "{errors:?}");
}
