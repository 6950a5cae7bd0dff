//! Results of several runs, such as seeds or ensembles: the mean and the standard deviation of each metric.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    evaluation::{
        benchmark::Benchmark,
        metrics::{Definition, Metrics, mean, variance},
        report::{COLUMNS, Report, markdown_header, markdown_row},
        table::{Table, latex_of},
    },
};

/// The results of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    definition: Definition,
    /// Set, score and metrics.
    rows: Vec<(String, String, Metrics)>,
}

/// What several runs have in common, and how far they differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Runs {
    /// Number of runs, two at least.
    pub runs: usize,
    /// Definition of the metrics.
    pub definition: Definition,
    /// One for each set and score.
    pub rows: Vec<RunsRow>,
}

/// A score on a set. Each metric is `None` where one of the runs has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunsRow {
    /// Name of the set.
    pub set: String,
    /// Name of the score.
    pub score: String,
    /// FPR at 95% TPR, detection error, AUROC, AUPR-in and AUPR-out.
    pub metrics: [Option<Spread>; 5],
}

/// A metric over all runs, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Its mean.
    pub mean: f64,
    /// Its sample standard deviation.
    pub standard_deviation: f64,
}

impl Run {
    /// Reads what `eloc metrics --format json` or `eloc evaluate --json` wrote.
    ///
    /// # Errors
    /// [`Error::ScoreFile`] for anything else.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self> {
        let wrong = |found: String| Error::ScoreFile {
            place: name.to_owned(),
            expected: "results of `eloc metrics --format json` or `eloc evaluate --json`".to_owned(),
            found,
        };
        let value: Value = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        // The page's results hold a report or a table.
        let value = value.get("report").or(value.get("table")).cloned().unwrap_or(value);
        let damaged = |error: serde_json::Error| wrong(error.to_string());
        let of_table = |set: &str, table: &Table| -> Vec<_> {
            table.scores.iter().map(|row| (set.to_owned(), row.score.clone(), row.metrics)).collect()
        };
        if value.get("sets").is_some() {
            let Benchmark { sets, .. } = serde_json::from_value(value).map_err(damaged)?;
            let Some(first) = sets.first() else { return Err(wrong("no set".to_owned())) };
            let rows = sets.iter().flat_map(|set| of_table(&set.name, &set.table)).collect();
            return Ok(Run { definition: first.table.definition, rows });
        }
        if value.get("ood").is_some() {
            let report: Report = serde_json::from_value(value).map_err(damaged)?;
            let rows = report
                .ood
                .iter()
                .flat_map(|set| set.scores.iter().map(|row| (set.label(), row.score.label().to_owned(), row.metrics)));
            return Ok(Run { definition: report.definition, rows: rows.collect() });
        }
        let table: Table = serde_json::from_value(value).map_err(damaged)?;
        Ok(Run { definition: table.definition, rows: of_table("", &table) })
    }
}

impl Runs {
    /// Of some runs, with the names of their files. What not all of them have is left out.
    ///
    /// # Errors
    /// [`Error::ScoreFile`] for fewer than two runs, other definitions than in the first, and runs without a set and score in common.
    ///
    /// # Panics
    /// Without a run.
    pub fn new(runs: &[(String, Run)]) -> Result<Self> {
        let (name, first) = &runs[0];
        let wrong = |place: &str, expected: &str, found: &str| Error::ScoreFile {
            place: place.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        if runs.len() < 2 {
            return Err(wrong(name, "two runs or more", "one"));
        }
        if let Some((name, other)) = runs.iter().find(|(_, run)| run.definition != first.definition) {
            let expected = format!("metrics by the {} definitions as in the first file", first.definition.name());
            return Err(wrong(name, &expected, other.definition.name()));
        }
        let row = |(set, score, _): &(String, String, Metrics)| {
            let of_run = |(_, run): &(String, Run)| {
                run.rows.iter().find(|row| (&row.0, &row.1) == (set, score)).map(|row| row.2.values())
            };
            let found: Vec<[Option<f64>; 5]> = runs.iter().map(of_run).collect::<Option<_>>()?;
            let spread = |metric: usize| {
                found.iter().map(|run| run[metric]).collect::<Option<Vec<f64>>>().map(|values| Spread::of(&values))
            };
            let metrics = [0, 1, 2, 3, 4].map(spread);
            Some(RunsRow { set: set.clone(), score: score.clone(), metrics })
        };
        let rows: Vec<RunsRow> = first.rows.iter().filter_map(row).collect();
        if rows.is_empty() {
            return Err(wrong(&runs[1].0, "a set and a score that the first file has, too", "none"));
        }
        Ok(Runs { runs: runs.len(), definition: first.definition, rows })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = self.caption();
        let mut line = |name: &str, cells: [String; 5]| {
            let _ = write!(text, "\n  {name:<18}");
            // The sign between takes two bytes and one place.
            cells.iter().for_each(|cell| text += &format!("{cell:>16}"));
        };
        for rows in self.rows.chunk_by(|a, b| a.set == b.set) {
            line("", [(); 5].map(|()| String::new()));
            line(&rows[0].set, COLUMNS.map(str::to_owned));
            rows.iter().for_each(|row| line(&row.score, row.cells("±")));
        }
        text
    }

    /// A Markdown table and its caption.
    pub fn markdown(&self) -> String {
        let mut text = markdown_header(&["set", "score"], &COLUMNS);
        for row in &self.rows {
            text += &markdown_row(&[&[row.set.clone(), row.score.clone()][..], &row.cells("±")].concat());
        }
        format!("{text}\n{}", self.caption())
    }

    /// A LaTeX tabular and its caption as a comment.
    pub fn latex(&self) -> String {
        let rows = self.rows.iter().map(|row| (row.set.clone(), row.score.clone(), row.cells("$\\pm$")));
        latex_of(&self.caption(), rows)
    }

    /// Fractions with all their digits: means, then standard deviations.
    pub fn csv(&self) -> String {
        let deviations = Metrics::NAMES.map(|name| format!("{name}_sd")).join(",");
        let mut text = format!("set,score,{},{deviations}", Metrics::NAMES.join(","));
        for RunsRow { set, score, metrics } in &self.rows {
            let _ = write!(text, "\n{set:?},{score:?}");
            for of in [|spread: Spread| spread.mean, |spread: Spread| spread.standard_deviation] {
                metrics.iter().for_each(|spread| {
                    text += &format!(",{}", spread.map_or(String::new(), |spread| of(spread).to_string()));
                });
            }
        }
        text
    }

    fn caption(&self) -> String {
        format!("Percent: mean ± sample standard deviation of {} runs.\n{}", self.runs, self.definition.in_words())
    }
}

impl RunsRow {
    fn cells(&self, sign: &str) -> [String; 5] {
        self.metrics.map(|spread| {
            spread.map_or("-".to_owned(), |Spread { mean, standard_deviation }| {
                format!("{:.2} {sign} {:.2}", 100.0 * mean, 100.0 * standard_deviation)
            })
        })
    }
}

impl Spread {
    /// Of two values or more.
    fn of(values: &[f64]) -> Self {
        let variance = variance(values).expect("two values or more");
        Spread { mean: mean(values), standard_deviation: variance.sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::files::Pair;

    fn run(ood: &[f64], definition: Definition) -> (String, Run) {
        let pair = Pair { score: "conf", id: vec![4.0, 3.0, 2.0], ood: ood.to_vec() };
        let table = Table::new(&[pair], definition, 0, 0).unwrap();
        let bytes = serde_json::to_vec(&table).unwrap();
        ("run.json".to_owned(), Run::read("run.json", &bytes).unwrap())
    }

    /// AUROC 75 and 100: mean 87.5, standard deviation 25 / sqrt(2).
    #[test]
    fn runs_have_a_mean_and_a_standard_deviation() {
        let of = |ood: &[f64]| run(ood, Definition::Standard);
        let runs = Runs::new(&[of(&[1.0, 3.0]), of(&[1.0])]).unwrap();
        let auroc = runs.rows[0].metrics[2].unwrap();
        assert!((auroc.mean - 0.875).abs() < 1e-15 && (auroc.standard_deviation - 0.25 / 2f64.sqrt()).abs() < 1e-15);
        assert!(runs.text().contains("87.50 ± 17.68"), "{}", runs.text());
        assert!(runs.markdown().contains("| 87.50 ± 17.68 |"), "{}", runs.markdown());
        assert!(runs.latex().contains("& 87.50 $\\pm$ 17.68 &"), "{}", runs.latex());
        assert_eq!(runs.csv().lines().map(|line| line.matches(',').count()).collect::<Vec<_>>(), [11, 11]);
    }

    #[test]
    fn runs_that_do_not_fit_are_refused() {
        let standard = run(&[1.0], Definition::Standard);
        let other = run(&[1.0], Definition::OpenOod);
        let refused = |runs: &[(String, Run)]| Runs::new(runs).unwrap_err().to_string();
        assert_eq!(refused(std::slice::from_ref(&standard)), "run.json: expected two runs or more, found one");
        assert!(refused(&[standard, other]).ends_with("as in the first file, found openood"));
        assert!(Run::read("x.json", b"{}").unwrap_err().to_string().starts_with("x.json: expected results of"));
    }
}
