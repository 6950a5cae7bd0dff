//! Results of the page or of an earlier run beside those of this one.

use std::{collections::HashMap, fmt::Write, fs, path::Path};

use anyhow::{Context, Result, ensure};
use eloc::{
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
    let points = |now: f64, before: f64| format!("{:+.4}", 100.0 * (now - before));
    let fpr = now.fpr_at_95_tpr.zip(before.fpr_at_95_tpr);
    [
        fpr.map_or("-".to_owned(), |(now, before)| points(now, before)),
        points(now.detection_error, before.detection_error),
        points(now.auroc, before.auroc),
        points(now.aupr_in, before.aupr_in),
        points(now.aupr_out, before.aupr_out),
    ]
}

impl Scored {
    /// Says how far the scores of the same images lie apart.
    fn difference(&self, before: &EarlierScores) -> String {
        let pairs: Vec<(f64, f64)> = match &self.images {
            // By name, with or without the folder that was dropped on the page.
            Images::Sources(sources) => {
                let named = || before.images.iter().map(String::as_str).zip(before.scores.iter().copied());
                let scores: HashMap<&str, f64> =
                    named().map(|(image, score)| (below(image), score)).chain(named()).collect();
                let pair = |(source, now): (&String, &f64)| Some((*now, *scores.get(source.as_str())?));
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
                if let Some((class, image)) =
                    classes.iter().zip(&before.images).find(|(class, image)| is_other(class, image))
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

/// Whether an image in the file, by its folders where it has any, is not of `class`.
fn is_other(class: &str, image: &str) -> bool {
    image.rsplit_once('/').is_some_and(|(folders, _)| folders.split('/').all(|folder| folder != class))
}

/// The path below its topmost folder.
fn below(path: &str) -> &str {
    path.split_once('/').map_or(path, |(_, rest)| rest)
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
