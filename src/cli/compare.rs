//! Results of the page or of an earlier run beside those of this one.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    fs,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use eloc::evaluation::{
    metrics::Metrics,
    report::{COLUMNS, Report, cells},
};
use serde::Deserialize;
use serde_json::Value;

/// Version of the page's results.
const FORMAT: u64 = 1;

/// Results to compare with: a report, and the images' own scores where the page wrote it.
pub struct Earlier {
    /// The report.
    pub report: Report,
    /// The in-distribution set's scores, then each out-of-distribution set's; empty where the file has none.
    sets: Vec<EarlierScores>,
}

/// One image set in the page's results.
#[derive(Deserialize)]
struct EarlierScores {
    images: Vec<String>,
    scores: Vec<f64>,
}

/// One image set as scored now.
pub struct Scored {
    pub images: Images,
    /// ELOC score of each image.
    pub scores: Vec<f64>,
}

/// What tells one image of a set from another.
pub enum Images {
    /// Where each came from.
    Sources(Vec<String>),
    /// A data set's own order; the class of each.
    Classes(Vec<String>),
}

impl Earlier {
    /// Reads what the page's export or `--json` wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        Self::parse(&bytes).with_context(|| {
            format!("{}: expected results written by the page or by `eloc evaluate --json`", path.display())
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes)?;
        let Some(format) = value.get("format") else {
            return Ok(Earlier { report: serde_json::from_value(value)?, sets: Vec::new() });
        };
        ensure!(*format == FORMAT, "format: expected {FORMAT}, found {format}");
        #[derive(Deserialize)]
        struct Results {
            report: Report,
            id: EarlierScores,
            ood: Vec<EarlierScores>,
        }
        let Results { report, id, ood } = serde_json::from_value(value)?;
        let sets: Vec<_> = std::iter::once(id).chain(ood).collect();
        for set in &sets {
            let (images, scores) = (set.images.len(), set.scores.len());
            ensure!(images == scores, "expected a score for each image, found {images} images and {scores} scores");
        }
        Ok(Earlier { report, sets })
    }

    /// Which of `sources` have a score in out-of-distribution set `set` of the file, where that is so for all of its images.
    pub fn chosen(&self, set: usize, sources: &[String]) -> Option<Vec<usize>> {
        let earlier = self.sets.get(set + 1)?;
        let names = earlier.by_name();
        let chosen: Vec<usize> = (0..sources.len()).filter(|&index| named(&names, &sources[index]).is_some()).collect();
        (!chosen.is_empty() && chosen.len() == earlier.images.len()).then_some(chosen)
    }

    /// Refuses another number of out-of-distribution sets.
    pub fn check_sets(&self, count: usize) -> Result<()> {
        let expected = self.report.ood.len();
        ensure!(
            count == expected,
            "--compare: expected {expected} out-of-distribution sets as in the file, found {count}"
        );
        Ok(())
    }

    /// A table of both runs' metrics and the largest difference between two scores of one image.
    ///
    /// `scored` holds the in-distribution set, then those of `report.ood`, as many as in the file.
    pub fn differences(&self, report: &Report, scored: &[Scored]) -> String {
        let mut text = format!("\ncompared with results of {}\n", self.report.provenance.device);
        let [before, now] = [&self.report, report].map(|report| (&report.network, &report.trained_on));
        if before != now {
            let _ =
                writeln!(text, "of other networks: {} trained on {}, not {} on {}", before.0, before.1, now.0, now.1);
        }
        for (set, earlier) in report.ood.iter().zip(&self.report.ood) {
            let _ = writeln!(
                text,
                "\n{} ({} images; in the file {}, {} images)",
                set.name, set.images, earlier.name, earlier.images
            );
            let _ = writeln!(text, "  {:<34}{}", "", COLUMNS.map(|column| format!("{column:>10}")).concat());
            for row in &set.scores {
                let Some(before) = earlier.scores.iter().find(|before| before.score == row.score) else { continue };
                let mut line = |what: &str, cells: [String; 5]| {
                    let cells = cells.map(|cell| format!("{cell:>10}")).concat();
                    let _ = writeln!(text, "  {:<18}{what:<16}{cells}", row.score.label());
                };
                line("file", cells(&before.metrics));
                line("now", cells(&row.metrics));
                line("difference", difference(&row.metrics, &before.metrics));
            }
        }
        let names = std::iter::once(&report.id.name).chain(report.ood.iter().map(|set| &set.name));
        for ((name, now), before) in names.zip(scored).zip(&self.sets) {
            let _ = writeln!(text, "\n{name}: {}", now.difference(before));
        }
        text
    }
}

/// `now` minus `before` in percentage points; a dash where one is not defined.
fn difference(now: &Metrics, before: &Metrics) -> [String; 5] {
    now.minus(before).map(|points| points.map_or("-".to_owned(), |points| format!("{:+.4}", 100.0 * points)))
}

impl EarlierScores {
    /// Each image's score by its path and by what is left of that without its topmost folders; none where that is another
    /// image's, too.
    fn by_name(&self) -> HashMap<&str, Option<f64>> {
        let mut scores = HashMap::new();
        for (image, score) in self.images.iter().zip(&self.scores) {
            for (at, _) in image.match_indices('/') {
                scores.entry(&image[at + 1..]).and_modify(|other| *other = None).or_insert(Some(*score));
            }
        }
        scores.extend(self.images.iter().map(String::as_str).zip(self.scores.iter().copied().map(Some)));
        scores
    }
}

/// The score of the image that came from `source`.
fn named(scores: &HashMap<&str, Option<f64>>, source: &str) -> Option<f64> {
    scores.get(source).copied().flatten()
}

impl Scored {
    /// Says how far the scores of the same images lie apart.
    fn difference(&self, before: &EarlierScores) -> String {
        let pairs: Vec<(f64, f64)> = match &self.images {
            Images::Sources(sources) => {
                let scores = before.by_name();
                let pair = |(source, now): (&String, &f64)| Some((*now, named(&scores, source)?));
                sources.iter().zip(&self.scores).filter_map(pair).collect()
            }
            Images::Classes(classes) => {
                if self.scores.len() != before.scores.len() {
                    return format!(
                        "{} images now, {} in the file: not compared",
                        self.scores.len(),
                        before.scores.len()
                    );
                }
                let all: HashSet<&str> = classes.iter().map(String::as_str).collect();
                if let Some((class, image)) =
                    classes.iter().zip(&before.images).find(|(class, image)| is_other(class, image, &all))
                {
                    return format!("other images than in the file, one of `{class}` for {image}: not compared");
                }
                self.scores.iter().copied().zip(before.scores.iter().copied()).collect()
            }
        };
        let count = self.scores.len();
        if pairs.is_empty() {
            return format!("none of its {count} images has a score in the file");
        }
        let largest = pairs.iter().map(|(now, before)| (now - before).abs()).max_by(f64::total_cmp);
        let largest = largest.unwrap_or(f64::NAN);
        format!("scores of {} of {count} images compared, largest difference {largest:.2e}", pairs.len())
    }
}

/// Whether an image in the file, by its folders where one is called as a class, is not of `class`.
fn is_other(class: &str, image: &str, classes: &HashSet<&str>) -> bool {
    let mut named = image.split('/').rev().skip(1).filter(|folder| classes.contains(folder)).peekable();
    named.peek().is_some() && named.all(|folder| folder != class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_matched_by_name() {
        let now = Scored {
            images: Images::Sources(vec!["x/a.png".into(), "b.png".into(), "c.png".into()]),
            scores: vec![1.0, 2.0, 3.0],
        };
        let before = EarlierScores { images: vec!["set/b.png".into(), "set/x/a.png".into()], scores: vec![2.5, 1.0] };
        assert_eq!(now.difference(&before), "scores of 2 of 3 images compared, largest difference 5.00e-1");
        // A set whose images lie in a folder of the folder that was dropped.
        let deep = EarlierScores { images: vec!["set/test/b.png".into(), "set/test/x/a.png".into()], ..before };
        assert_eq!(now.difference(&deep), "scores of 2 of 3 images compared, largest difference 5.00e-1");
        let twice = EarlierScores { images: vec!["set/1/b.png".into(), "set/2/b.png".into()], ..deep };
        assert_eq!(now.difference(&twice), "none of its 3 images has a score in the file");
    }

    #[test]
    fn images_of_the_file_are_chosen_wherever_they_stand() {
        let sources: Vec<String> = ["a.png", "b.png", "c.png"].map(str::to_owned).into();
        let set = |images: &[&str]| {
            let images: Vec<String> = images.iter().map(|&image| image.to_owned()).collect();
            EarlierScores { scores: vec![1.0; images.len()], images }
        };
        let report = serde_json::json!({
            "provenance": { "command": "", "version": "", "commit": null, "device": "", "seconds": 0.0 },
            "trained_on": "", "network": "", "folds": 1, "definition": "standard",
            "odin": { "temperature": 1.0, "epsilon": 0.0, "gradient": "entropy" },
            "id": { "name": "", "images": 0, "accuracy": null, "fold_accuracies": [] }, "ood": [],
        });
        let earlier = Earlier {
            report: serde_json::from_value(report).unwrap(),
            sets: vec![set(&[]), set(&["set/c.png", "set/a.png"]), set(&["set/c.png", "set/d.png"])],
        };
        assert_eq!(earlier.chosen(0, &sources), Some(vec![0, 2]));
        assert_eq!(earlier.chosen(1, &sources), None);
        assert_eq!(earlier.chosen(2, &sources), None);
    }

    #[test]
    fn images_of_a_data_set_are_matched_by_order() {
        let now = Scored { images: Images::Classes(vec!["cat".into(), "dog".into()]), scores: vec![1.0, 2.0] };
        let before = EarlierScores { images: vec!["test 0".into(), "test 1".into()], scores: vec![1.0, 2.0] };
        assert_eq!(now.difference(&before), "scores of 2 of 2 images compared, largest difference 0.00e0");
        let other = EarlierScores { images: vec!["test 0".into()], scores: vec![1.0] };
        assert_eq!(now.difference(&other), "2 images now, 1 in the file: not compared");
        let folder =
            |names: [&str; 2]| EarlierScores { images: names.map(str::to_owned).to_vec(), scores: vec![1.0, 2.0] };
        let same = now.difference(&folder(["test/cat/0.png", "test/dog/0.png"]));
        assert_eq!(same, "scores of 2 of 2 images compared, largest difference 0.00e0");
        let file =
            now.difference(&folder(["cifar-10-batches-bin/test_batch.bin 0", "cifar-10-batches-bin/test_batch.bin 1"]));
        assert_eq!(file, same);
        let other = now.difference(&folder(["test/cat/0.png", "test/cat/1.png"]));
        assert_eq!(other, "other images than in the file, one of `dog` for test/cat/1.png: not compared");
    }

    #[test]
    fn other_files_are_rejected() {
        for bytes in [&b"{}"[..], b"[]", b"{\"format\": 2}", b"{\"format\": 1}", b"no JSON"] {
            assert!(Earlier::parse(bytes).is_err());
        }
    }
}
