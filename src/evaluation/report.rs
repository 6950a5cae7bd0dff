//! The results of an evaluation: one structure for the terminal, JSON, Markdown and the page.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::{
    detection::{
        ensemble::{Outputs, Score, Scores},
        odin::Odin,
    },
    error::Result,
    evaluation::metrics::{Definition, Metrics, Outline, metrics, outline},
};

/// What an evaluation found, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// Data set the ensemble was trained on.
    pub trained_on: String,
    /// The folds' network, by its name: a report may outlive a network.
    pub network: String,
    /// Number of folds.
    pub folds: usize,
    /// Temperature, epsilon and gradient of the perturbation.
    pub odin: Odin,
    /// Definition of the metrics.
    pub definition: Definition,
    /// The in-distribution set.
    pub id: IdSet,
    /// One for each out-of-distribution set.
    pub ood: Vec<OodSet>,
}

/// How a result was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The command line.
    pub command: String,
    /// Version of eloc.
    pub version: String,
    /// Commit of the source, where it is known.
    pub commit: Option<String>,
    /// The device.
    pub device: String,
    /// Seconds it took, with those that an earlier run took for what it left.
    pub seconds: f64,
}

impl Provenance {
    /// What this build of eloc made by `command` on `device`.
    pub fn new(command: String, device: String, seconds: f64) -> Self {
        Provenance {
            command,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("ELOC_COMMIT").map(str::to_owned),
            device,
            seconds,
        }
    }
}

/// The in-distribution set of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdSet {
    /// Its name.
    pub name: String,
    /// Number of images.
    pub images: usize,
    /// Accuracy of the folds' mean softmax, 0 to 1, where the images have labels.
    pub accuracy: Option<f64>,
    /// Accuracy of each fold on its kept classes, 0 to 1, where there are images of them.
    pub fold_accuracies: Vec<Option<f64>>,
}

/// An out-of-distribution set and how well each score tells it apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OodSet {
    /// Its name.
    pub name: String,
    /// Number of images.
    pub images: usize,
    /// The perturbation's epsilon where this set has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Images that were left out of it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub excluded: usize,
    /// The metrics of each score.
    pub scores: Vec<ScoreMetrics>,
}

/// The metrics of one score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreMetrics {
    /// Which score.
    pub score: Score,
    /// Its metrics, as fractions.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// What plots need; results of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curves: Option<Outline>,
}

impl IdSet {
    /// Describes a set; `labels` are the images' classes, none for images without labels.
    pub fn new(name: &str, labels: &[u16], outputs: &Outputs) -> Self {
        let predictions = outputs.predictions();
        let correct = labels.iter().zip(&predictions).filter(|(label, class)| usize::from(**label) == **class).count();
        IdSet {
            name: name.to_owned(),
            images: outputs.len(),
            accuracy: (!labels.is_empty()).then(|| correct as f64 / labels.len() as f64),
            fold_accuracies: outputs.fold_accuracies(labels),
        }
    }
}

impl OodSet {
    /// Its name in tables, with its epsilon where it has its own, and how many images were left out.
    pub fn label(&self) -> String {
        let epsilon = self.epsilon.map_or(String::new(), |epsilon| format!(", epsilon {epsilon}"));
        let excluded = if self.excluded > 0 { format!(" without {}", self.excluded) } else { String::new() };
        format!("{}{excluded}{epsilon}", self.name)
    }

    /// Measures every score between two sets.
    ///
    /// # Errors
    /// Those of [`metrics`].
    pub fn new(name: &str, id: &Scores, ood: &Scores, definition: Definition) -> Result<Self> {
        let scores = Score::ALL.into_iter().map(|score| {
            let metrics = metrics(id.of(score), ood.of(score), definition)?;
            let curves = Some(outline(id.of(score), ood.of(score))?);
            Ok(ScoreMetrics { score, metrics, curves })
        });
        let images = ood.of(Score::Eloc).len();
        Ok(OodSet { name: name.to_owned(), images, epsilon: None, excluded: 0, scores: scores.collect::<Result<_>>()? })
    }
}

impl Report {
    /// A heading and a table for people.
    pub fn text(&self) -> String {
        let mut text = self.heading();
        for set in &self.ood {
            let _ = writeln!(text, "\n{} ({} images)", set.label(), set.images);
            let _ = writeln!(text, "  {:<18}{}", "", COLUMNS.map(|column| format!("{column:>10}")).concat());
            for row in &set.scores {
                let cells = cells(&row.metrics).map(|cell| format!("{cell:>10}")).concat();
                let _ = writeln!(text, "  {:<18}{cells}", row.score.label());
            }
        }
        if let Some(note) = self.overlap() {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }

    /// What a reader should know of sets that have classes of the training set.
    pub fn overlap(&self) -> Option<String> {
        let classes = match self.trained_on.as_str() {
            "cifar10" => "CIFAR-10 (dogs, cats, frogs, birds, cars, trucks)",
            "cifar100" => "CIFAR-100 (bears, bees, buses, elephants, lions, mushrooms, oranges, tractors and more)",
            _ => return None,
        };
        let is_tiny = |set: &&OodSet| set.excluded == 0 && set.name.starts_with("Imagenet");
        let sets: Vec<&str> = self.ood.iter().filter(is_tiny).map(|set| set.name.as_str()).collect();
        (!sets.is_empty()).then(|| {
            format!(
                "{}: Tiny-ImageNet has classes of {classes}, whose images count as out-of-distribution, as in the paper; \
                 --exclude leaves out those that a file names.",
                sets.join(", ")
            )
        })
    }

    /// The same as Markdown: a table of the ensemble's own score and one that compares all scores.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n{}\n{}", self.heading(), self.metrics_table(), self.scores_table());
        let Provenance { command, version, commit, device, seconds } = &self.provenance;
        let commit = commit.as_deref().unwrap_or("unknown");
        if let Some(note) = self.overlap() {
            let _ = writeln!(text, "\n{note}");
        }
        let _ =
            writeln!(text, "\nMade by `{command}`, version {version}, commit {commit}, on {device} in {seconds:.0} s.");
        text
    }

    /// Markdown: the five metrics of the ensemble's own score on each set.
    pub fn metrics_table(&self) -> String {
        let mut text = markdown_header(&["out-of-distribution set"], &[&["images"][..], &COLUMNS].concat());
        for set in &self.ood {
            for row in set.scores.iter().filter(|row| row.score == Score::Eloc) {
                text += &markdown_row(&[&[set.label(), set.images.to_string()][..], &cells(&row.metrics)].concat());
            }
        }
        text
    }

    /// Markdown: AUROC and FPR95 of every score on each set.
    pub fn scores_table(&self) -> String {
        let mut text = markdown_header(&["AUROC / FPR95"], &Score::ALL.map(Score::label));
        for set in &self.ood {
            let pairs = set.scores.iter().map(|row| pair(&row.metrics));
            text += &markdown_row(&[set.label()].into_iter().chain(pairs).collect::<Vec<_>>());
        }
        text
    }

    fn heading(&self) -> String {
        let Odin { temperature, gradient, .. } = self.odin;
        let accuracy =
            self.id.accuracy.map_or(String::new(), |accuracy| format!(", ensemble accuracy {:.2}", 100.0 * accuracy));
        format!(
            "{} folds of {} trained on {}; T {temperature}, {}, {gradient} gradient; {} \
             definitions, percent\nin-distribution: {} ({} images){accuracy}\n",
            self.folds,
            self.network,
            self.trained_on,
            self.epsilon(),
            self.definition.name(),
            self.id.name,
            self.id.images,
        )
    }

    /// Which epsilon the perturbation had, in words.
    pub fn epsilon(&self) -> String {
        match self.ood.iter().any(|set| set.epsilon.is_some()) {
            true => "epsilon by set".to_owned(),
            false => format!("epsilon {}", self.odin.epsilon),
        }
    }
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// First two lines of a Markdown table: columns of text, then columns of numbers.
pub fn markdown_header(text: &[&str], numbers: &[&str]) -> String {
    let ruler = "---|".repeat(text.len()) + &"---:|".repeat(numbers.len());
    format!("| {} |\n|{ruler}\n", [text, numbers].concat().join(" | "))
}

/// A line of a Markdown table.
pub fn markdown_row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The five metrics, in the order of the paper's tables.
pub const COLUMNS: [&str; 5] = ["FPR95", "det. err.", "AUROC", "AUPR-in", "AUPR-out"];

/// The metrics in percent; a dash where one is not defined.
pub fn cells(metrics: &Metrics) -> [String; 5] {
    metrics.values().map(|value| value.map_or("-".to_owned(), |value| format!("{:.2}", 100.0 * value)))
}

/// AUROC and FPR95 in percent.
pub fn pair(metrics: &Metrics) -> String {
    let [fpr, _, auroc, ..] = cells(metrics);
    format!("{auroc} / {fpr}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let metrics =
            Metrics { fpr_at_95_tpr: None, detection_error: 0.25, auroc: 0.98765, aupr_in: 1.0, aupr_out: 0.5 };
        Report {
            provenance: Provenance::new("eloc evaluate".to_owned(), "CPU".to_owned(), 2.0),
            trained_on: "shapes".to_owned(),
            network: "compact-64-128-176".into(),
            folds: 5,
            odin: Odin::default(),
            definition: Definition::Reference,
            id: IdSet {
                name: "shapes".to_owned(),
                images: 10,
                accuracy: Some(0.9),
                fold_accuracies: vec![Some(0.9); 5],
            },
            ood: vec![OodSet {
                name: "noise".to_owned(),
                images: 20,
                epsilon: None,
                excluded: 0,
                scores: Score::ALL.map(|score| ScoreMetrics { score, metrics, curves: None }).to_vec(),
            }],
        }
    }

    #[test]
    fn tables_show_percent_and_a_dash_for_what_is_not_defined() {
        let text = report().text();
        assert!(text.contains("ensemble accuracy 90.00"), "{text}");
        let row = text.lines().find(|line| line.trim_start().starts_with("ELOC ")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells, ["ELOC", "-", "25.00", "98.77", "100.00", "50.00"]);
        let markdown = report().markdown();
        assert!(markdown.contains("| noise | 20 | - | 25.00 | 98.77 | 100.00 | 50.00 |"), "{markdown}");
        assert_eq!(markdown.matches("98.77 / -").count(), Score::ALL.len());
    }

    #[test]
    fn an_epsilon_of_its_own_stands_beside_the_name_of_a_set() {
        let mut report = report();
        report.ood[0].epsilon = Some(0.003);
        let text = report.text();
        assert!(
            text.contains("T 1000, epsilon by set,") && text.contains("noise, epsilon 0.003 (20 images)"),
            "{text}"
        );
        assert_eq!(report.markdown().matches("| noise, epsilon 0.003 |").count(), 2);
    }

    #[test]
    fn a_report_comes_back_from_json() {
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
    }
}
