//! Several out-of-distribution sets against one in-distribution set, with the means of near and far ones as OpenOOD reports them, and
//! differences of scores.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    evaluation::{
        files::Pair,
        metrics::{DeLong, Definition, Difference, Differences, Metrics, delong, paired_bootstrap},
        report::{COLUMNS, markdown_header, markdown_row},
        table::{LEVEL, Row, Table, csv_columns, latex_of, text_of},
    },
};

/// The metrics of some scores on several sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// Accuracy of the classifier on the in-distribution images, 0 to 1, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// One for each out-of-distribution set; the same scores in each.
    pub sets: Vec<Measured>,
    /// Means over the sets of each group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub means: Vec<Mean>,
}

/// One set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// How far it is said to be from the in-distribution set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// What was measured.
    #[serde(flatten)]
    pub table: Table,
    /// How far scores differ, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Compared>,
}

/// OpenOOD's two kinds of sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Images much like the known ones, of other classes.
    Near,
    /// Other images.
    Far,
}

/// The mean of a group of sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// Which.
    pub group: Group,
    /// Number of sets.
    pub sets: usize,
    /// One for each score; a metric that is not defined for one of the sets has no mean.
    pub scores: Vec<Row>,
}

/// A score's metrics minus those of another of the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The score.
    pub score: String,
    /// What is subtracted.
    pub baseline: String,
    /// The differences, with 95% paired bootstrap intervals.
    #[serde(flatten)]
    pub differences: Differences,
    /// DeLong's test of the AUROCs.
    pub delong: DeLong,
}

impl Compared {
    /// Compares `pair` with `baseline`, both scores of the same images in the same order.
    ///
    /// # Errors
    /// Those of [`paired_bootstrap`].
    pub fn new(
        pair: &Pair,
        baseline: (&str, &Pair),
        definition: Definition,
        resamples: usize,
        seed: u32,
    ) -> Result<Self> {
        let (name, other) = baseline;
        let (id, ood) = ([&pair.id[..], &other.id], [&pair.ood[..], &other.ood]);
        Ok(Compared {
            score: pair.score.to_owned(),
            baseline: name.to_owned(),
            differences: paired_bootstrap(id, ood, definition, resamples, seed, LEVEL)?,
            delong: delong(id, ood)?,
        })
    }

    /// The differences in percentage points with their intervals, and the p-value.
    fn cells(&self) -> [String; 6] {
        let Differences { fpr_at_95_tpr, detection_error, auroc, aupr_in, aupr_out, .. } = self.differences;
        let points = |Difference { value, interval }: Difference| {
            let [value, low, high] = [value, interval.low, interval.high].map(|value| 100.0 * value);
            format!("{value:+.2} [{low:+.2}, {high:+.2}]")
        };
        [
            fpr_at_95_tpr.map_or("-".to_owned(), points),
            points(detection_error),
            points(auroc),
            points(aupr_in),
            points(aupr_out),
            self.delong.p.map_or("-".to_owned(), |p| format!("{p:.2e}")),
        ]
    }
}

impl Group {
    /// As OpenOOD calls it.
    pub fn name(self) -> &'static str {
        match self {
            Group::Near => "near-OOD",
            Group::Far => "far-OOD",
        }
    }
}

impl Benchmark {
    /// Of some sets with the same scores.
    ///
    /// # Panics
    /// Without sets.
    pub fn new(accuracy: Option<f64>, sets: Vec<Measured>) -> Self {
        let mean = |group| {
            let of_group: Vec<&Table> =
                sets.iter().filter(|set| set.group == Some(group)).map(|set| &set.table).collect();
            let scores = (0..sets[0].table.scores.len()).map(|index| Row {
                score: sets[0].table.scores[index].score.clone(),
                metrics: mean(of_group.iter().map(|table| table.scores[index].metrics)),
                intervals: None,
            });
            (!of_group.is_empty()).then(|| Mean { group, sets: of_group.len(), scores: scores.collect() })
        };
        let means = [Group::Near, Group::Far].into_iter().filter_map(mean).collect();
        Benchmark { accuracy, sets, means }
    }

    /// The set, where there is one of no group.
    fn only(&self) -> Option<&Measured> {
        match &self.sets[..] {
            [only] if only.group.is_none() => Some(only),
            _ => None,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = match self.only() {
            Some(only) => only.table.text(),
            None => {
                let mut text = self.caption();
                for set in &self.sets {
                    let group = set.group.map_or(String::new(), |group| format!("{}, ", group.name()));
                    let _ = write!(text, "\n\n{} ({group}{} images)", set.name, set.table.ood_images);
                    text += &text_of(&set.table.scores);
                }
                for mean in &self.means {
                    let _ =
                        write!(text, "\n\nmean of {} {} sets{}", mean.sets, mean.group.name(), text_of(&mean.scores));
                }
                text
            }
        };
        if let Some(accuracy) = self.accuracy {
            let _ = write!(text, "\n\nin-distribution accuracy {:.2}", 100.0 * accuracy);
        }
        for set in self.sets.iter().filter(|set| !set.differences.is_empty()) {
            let _ = write!(text, "\n\n{}: {}", set.name, in_words(&set.differences[0]));
            let mut line = |name: &str, cells: [String; 6]| {
                let _ = write!(text, "\n  {name:<18}");
                cells.iter().for_each(|cell| text += &format!("{cell:>25}"));
            };
            line("", difference_columns());
            set.differences.iter().for_each(|row| line(&row.score, row.cells()));
        }
        text
    }

    /// Markdown tables and their captions.
    pub fn markdown(&self) -> String {
        let mut text = match self.only() {
            Some(only) => only.table.markdown(),
            None => {
                let mut text = markdown_header(&["set", "score"], &COLUMNS);
                for (name, row) in self.rows() {
                    text += &markdown_row(&[&[name, row.score.clone()][..], &row.markdown_cells()].concat());
                }
                format!("{text}\n{}", self.caption())
            }
        };
        if let Some(accuracy) = self.accuracy {
            let _ = write!(text, "\nIn-distribution accuracy {:.2}.", 100.0 * accuracy);
        }
        for set in self.sets.iter().filter(|set| !set.differences.is_empty()) {
            let columns = difference_columns();
            let _ = write!(text, "\n\n{}", markdown_header(&["score"], &columns.each_ref().map(String::as_str)));
            for row in &set.differences {
                text += &markdown_row(&[&[row.score.clone()][..], &row.cells()].concat());
            }
            let _ = write!(text, "\n{}: {}", set.name, in_words(&set.differences[0]));
        }
        text
    }

    /// A LaTeX tabular and its caption as a comment; differences are left out.
    pub fn latex(&self) -> String {
        if let Some(only) = self.only() {
            return only.table.latex();
        }
        let rows = self.rows().map(|(name, row)| (name, row.score.clone(), row.latex_cells()));
        latex_of(&self.caption(), rows)
    }

    /// Fractions with all their digits, a line for each set and score; differences are left out.
    pub fn csv(&self) -> String {
        if let Some(only) = self.only() {
            return only.table.csv();
        }
        let with_intervals = self.sets[0].table.resamples() > 0;
        let columns = csv_columns(with_intervals);
        let all = columns.split(',').count();
        let mut text = format!("set,score,{columns}");
        for (name, row) in self.rows() {
            let line = row.csv();
            // Means have no intervals.
            let missing = if row.intervals.is_none() && with_intervals { all - COLUMNS.len() } else { 0 };
            let _ = write!(text, "\n{name:?},{line}{}", ",".repeat(missing));
        }
        text
    }

    /// What OpenOOD's leaderboard asks for, as CSV: a line for each score; what only its author knows is left empty. AUROC and
    /// accuracy are in percent. `None` without near and far sets.
    pub fn leaderboard(&self) -> Option<String> {
        let of = |group| self.means.iter().find(|mean| mean.group == group);
        let (near, far) = (of(Group::Near)?, of(Group::Far)?);
        let mut text =
            "Training,Postprocessor,Near-OOD AUROC,Far-OOD AUROC,ID Accuracy,Outlier Data,Model Arch.,Additional \
                        Description"
                .to_owned();
        let accuracy = self.accuracy.map_or(String::new(), |accuracy| format!("{:.2}", 100.0 * accuracy));
        for (near, far) in near.scores.iter().zip(&far.scores) {
            let [near_auroc, far_auroc] = [near, far].map(|row| 100.0 * row.metrics.auroc);
            let _ = write!(text, "\n,{:?},{near_auroc:.2},{far_auroc:.2},{accuracy},,,", near.score);
        }
        Some(text)
    }

    /// Every row with the name of its set or group.
    fn rows(&self) -> impl Iterator<Item = (String, &Row)> {
        let of_sets = self.sets.iter().flat_map(|set| set.table.scores.iter().map(|row| (set.name.clone(), row)));
        let of_means = self.means.iter().flat_map(|mean| {
            mean.scores.iter().map(|row| (format!("{} mean of {}", mean.group.name(), mean.sets), row))
        });
        of_sets.chain(of_means)
    }

    fn caption(&self) -> String {
        let table = &self.sets[0].table;
        format!(
            "Percent{}; {} in-distribution images.\n{}",
            table.intervals_in_words(),
            table.id_images,
            table.definition.in_words()
        )
    }
}

fn in_words(row: &Compared) -> String {
    let Compared { baseline, differences: Differences { resamples, .. }, .. } = row;
    format!(
        "each score minus {baseline} on the same images, percentage points with 95% intervals of {resamples} paired bootstrap \
         resamples; p by DeLong's test of the AUROC."
    )
}

fn difference_columns() -> [String; 6] {
    let [fpr, error, auroc, aupr_in, aupr_out] = COLUMNS;
    [fpr, error, auroc, aupr_in, aupr_out, "p"].map(str::to_owned)
}

/// The mean of each metric.
fn mean(metrics: impl Iterator<Item = Metrics> + Clone) -> Metrics {
    let count = metrics.clone().count() as f64;
    let of = |of: fn(&Metrics) -> f64| metrics.clone().map(|metrics| of(&metrics)).sum::<f64>() / count;
    let fpr: Option<Vec<f64>> = metrics.clone().map(|metrics| metrics.fpr_at_95_tpr).collect();
    Metrics {
        fpr_at_95_tpr: fpr.map(|values| values.iter().sum::<f64>() / count),
        detection_error: of(|metrics| metrics.detection_error),
        auroc: of(|metrics| metrics.auroc),
        aupr_in: of(|metrics| metrics.aupr_in),
        aupr_out: of(|metrics| metrics.aupr_out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, group: Option<Group>, ood: &[f64]) -> Measured {
        let pair = Pair { score: "conf", id: vec![4.0, 3.0, 2.0], ood: ood.to_vec() };
        let table = Table::new(&[pair], Definition::Standard, 20, 0).unwrap();
        Measured { name: name.to_owned(), group, table, differences: Vec::new() }
    }

    fn benchmark() -> Benchmark {
        let (near, far) = (Some(Group::Near), Some(Group::Far));
        let sets = vec![measured("a_1", near, &[1.0, 3.0]), measured("b", near, &[1.0]), measured("c", far, &[5.0])];
        Benchmark::new(Some(0.9), sets)
    }

    /// AUROC 75 and 100, 0 far.
    #[test]
    fn groups_have_means_in_every_form() {
        let benchmark = benchmark();
        let text = benchmark.text();
        assert!(text.contains("\na_1 (near-OOD, 2 images)\n") && text.contains("accuracy 90.00"), "{text}");
        let mean = text.split("mean of 2 near-OOD sets").nth(1).unwrap().lines().nth(2).unwrap();
        assert_eq!(mean.split_whitespace().nth(3), Some("87.50"), "{text}");
        let markdown = benchmark.markdown();
        assert!(markdown.contains("| near-OOD mean of 2 | conf | 25.00 | 12.50 | 87.50 |"), "{markdown}");
        let latex = benchmark.latex();
        assert!(latex.contains("\na\\_1 & conf & 50.00 {\\small ["), "{latex}");
        let csv = benchmark.csv();
        let columns: Vec<usize> = csv.lines().map(|line| line.matches(',').count()).collect();
        assert_eq!(columns, [16; 6], "{csv}");
        assert!(benchmark.leaderboard().unwrap().ends_with("\n,\"conf\",87.50,0.00,90.00,,,"));
        assert_eq!(serde_json::from_str::<Benchmark>(&serde_json::to_string(&benchmark).unwrap()).unwrap(), benchmark);
    }

    #[test]
    fn one_set_is_its_table() {
        let only = Benchmark::new(None, vec![measured("a", None, &[1.0, 3.0])]);
        let table = &only.sets[0].table;
        assert_eq!([only.text(), only.markdown()], [table.text(), table.markdown()]);
        assert_eq!([only.latex(), only.csv()], [table.latex(), table.csv()]);
        assert_eq!(only.leaderboard(), None);
    }

    #[test]
    fn differences_stand_below_the_table() {
        let mut set = measured("a", None, &[1.0, 3.0]);
        let pair = |id: [f64; 3]| Pair { score: "conf", id: id.to_vec(), ood: vec![1.0, 3.0] };
        let (first, second) = (pair([4.0, 3.0, 2.0]), pair([0.0, 3.0, 2.0]));
        let compared = Compared::new(&first, ("theirs", &second), Definition::Standard, 20, 0).unwrap();
        // 4.5 and 2.5 of six pairs.
        assert!((compared.delong.difference - 1.0 / 3.0).abs() < 1e-15, "{compared:?}");
        set.differences = vec![compared];
        let benchmark = Benchmark::new(None, vec![set]);
        assert!(benchmark.text().contains("\n\na: each score minus theirs on the same images"), "{}", benchmark.text());
        assert!(benchmark.markdown().contains("| +33.33 ["), "{}", benchmark.markdown());
    }
}
