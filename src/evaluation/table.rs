//! The metrics of any scores, as a table for terminal, JSON, Markdown, LaTeX and CSV.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    evaluation::{
        files::Pair,
        metrics::{Definition, Interval, Intervals, Metrics, bootstrap, metrics},
        report::{COLUMNS, cells, markdown_header, markdown_row},
    },
};

/// Share of resamples within an interval.
pub(super) const LEVEL: f64 = 0.95;

/// The metrics of some scores of the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Definition of the metrics.
    pub definition: Definition,
    /// Number of in-distribution images.
    pub id_images: usize,
    /// Number of out-of-distribution images.
    pub ood_images: usize,
    /// One for each score.
    pub scores: Vec<Row>,
}

/// The metrics of one score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the score.
    pub score: String,
    /// Its metrics, as fractions.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Their 95% bootstrap intervals, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals: Option<Intervals>,
}

impl Table {
    /// Measures `pairs`, scores of the same images, with intervals of as many `resamples` unless that is 0.
    ///
    /// # Errors
    /// Those of [`metrics`].
    ///
    /// # Panics
    /// Without pairs.
    pub fn new(pairs: &[Pair], definition: Definition, resamples: usize, seed: u32) -> Result<Self> {
        let row = |Pair { score, id, ood }: &Pair| {
            let intervals = (resamples > 0).then(|| bootstrap(id, ood, definition, resamples, seed, LEVEL));
            Ok(Row {
                score: (*score).to_owned(),
                metrics: metrics(id, ood, definition)?,
                intervals: intervals.transpose()?,
            })
        };
        let (id_images, ood_images) = (pairs[0].id.len(), pairs[0].ood.len());
        Ok(Table { definition, id_images, ood_images, scores: pairs.iter().map(row).collect::<Result<_>>()? })
    }

    /// For people.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.caption(), text_of(&self.scores))
    }

    /// A Markdown table and its caption.
    pub fn markdown(&self) -> String {
        let mut text = markdown_header(&["score"], &COLUMNS);
        for row in &self.scores {
            text += &markdown_row(&[&[row.score.clone()][..], &row.markdown_cells()].concat());
        }
        format!("{text}\n{}", self.caption())
    }

    /// A LaTeX tabular and its caption as a comment.
    pub fn latex(&self) -> String {
        let mut text = format!("% {}\n\\begin{{tabular}}{{lrrrrr}}\n\\hline\n", self.caption().replace('\n', "\n% "));
        let mut line = |name: &str, cells: &[String; 5]| {
            let _ = writeln!(text, "{name} & {} \\\\", cells.join(" & "));
        };
        line("", &COLUMNS.map(str::to_owned));
        for row in &self.scores {
            line(&row.score, &row.latex_cells());
        }
        text + "\\hline\n\\end{tabular}"
    }

    /// Fractions with all their digits: a line of names, and one for each score.
    pub fn csv(&self) -> String {
        let mut text = format!("score,{}", csv_columns(self.resamples() > 0));
        self.scores.iter().for_each(|row| text += &format!("\n{}", row.csv()));
        text
    }

    /// What the numbers are.
    fn caption(&self) -> String {
        format!(
            "Percent{}; {} in-distribution and {} out-of-distribution images.\n{}",
            self.intervals_in_words(),
            self.id_images,
            self.ood_images,
            self.definition.in_words(),
        )
    }

    /// What the intervals are, after a comma; nothing where there are none.
    pub(super) fn intervals_in_words(&self) -> String {
        match self.resamples() {
            0 => String::new(),
            resamples => format!(", with 95% bootstrap intervals of {resamples} resamples"),
        }
    }

    pub(super) fn resamples(&self) -> usize {
        self.scores.first().and_then(|row| row.intervals).map_or(0, |intervals| intervals.resamples)
    }
}

impl Row {
    /// The metrics in percent, each followed by its interval as `range` writes it.
    fn cells_with(&self, range: impl Fn(String) -> String) -> [String; 5] {
        let mut cells = cells(&self.metrics);
        if let Some(intervals) = &self.intervals {
            for (cell, interval) in cells.iter_mut().zip(ranges(intervals)) {
                *cell += &interval.map_or(String::new(), |interval| range(percents(interval)));
            }
        }
        cells
    }

    /// Metrics with their intervals in Markdown.
    pub(super) fn markdown_cells(&self) -> [String; 5] {
        self.cells_with(|range| format!(" ({range})"))
    }

    /// The same in LaTeX.
    pub(super) fn latex_cells(&self) -> [String; 5] {
        self.cells_with(|range| format!(" {{\\small [{range}]}}"))
    }

    /// The score's name and fractions, with the ends of the intervals where there are such.
    pub(super) fn csv(&self) -> String {
        let Row { score, metrics, intervals } = self;
        let mut values = metrics.values().to_vec();
        for range in intervals.iter().flat_map(ranges) {
            values.extend([range.map(|range| range.low), range.map(|range| range.high)]);
        }
        let values = values.iter().map(|value| value.map_or(String::new(), |value| value.to_string()));
        format!("{score:?},{}", values.collect::<Vec<_>>().join(","))
    }
}

/// Names of the columns of [`Row::csv`] after the score.
pub(super) fn csv_columns(with_intervals: bool) -> String {
    let ends = Metrics::NAMES.iter().filter(|_| with_intervals).map(|name| format!("{name}_low,{name}_high"));
    Metrics::NAMES.iter().map(|&name| name.to_owned()).chain(ends).collect::<Vec<_>>().join(",")
}

/// A LaTeX tabular of sets, scores and metrics, and its caption as a comment.
pub(super) fn latex_of(caption: &str, rows: impl Iterator<Item = (String, String, [String; 5])>) -> String {
    let mut text = format!("% {}\n\\begin{{tabular}}{{llrrrrr}}\n\\hline\n", caption.replace('\n', "\n% "));
    let _ = writeln!(text, "set & score & {} \\\\\n\\hline", COLUMNS.join(" & "));
    for (set, score, cells) in rows {
        let _ = writeln!(text, "{} & {score} & {} \\\\", set.replace('_', "\\_"), cells.join(" & "));
    }
    text + "\\hline\n\\end{tabular}"
}

/// Rows for people, below the names of their columns.
pub(super) fn text_of(rows: &[Row]) -> String {
    let width = if rows.iter().any(|row| row.intervals.is_some()) { 18 } else { 10 };
    let mut text = String::new();
    let mut line = |name: &str, cells: [String; 5]| {
        let _ = write!(text, "\n  {name:<18}");
        cells.iter().for_each(|cell| text += &format!("{cell:>width$}"));
    };
    line("", COLUMNS.map(str::to_owned));
    for row in rows {
        line(&row.score, cells(&row.metrics));
        if let Some(intervals) = &row.intervals {
            line(
                "",
                ranges(intervals).map(|range| range.map_or("-".to_owned(), |range| format!("[{}]", percents(range)))),
            );
        }
    }
    text
}

/// The intervals in the order of [`COLUMNS`].
fn ranges(intervals: &Intervals) -> [Option<Interval>; 5] {
    let Intervals { fpr_at_95_tpr, detection_error, auroc, aupr_in, aupr_out, .. } = *intervals;
    [fpr_at_95_tpr, Some(detection_error), Some(auroc), Some(aupr_in), Some(aupr_out)]
}

pub(super) fn percents(interval: Interval) -> String {
    format!("{:.2}, {:.2}", 100.0 * interval.low, 100.0 * interval.high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(resamples: usize) -> Table {
        let pair = Pair { score: "ELOC, epsilon 0", id: vec![4.0, 3.0, 2.0], ood: vec![1.0, 3.0] };
        Table::new(&[pair], Definition::Standard, resamples, 0).unwrap()
    }

    #[test]
    fn tables_hold_the_metrics_in_every_form() {
        let table = table(0);
        let last = |text: String| text.lines().last().unwrap().to_owned();
        let cells = last(table.text());
        assert_eq!(cells.split_whitespace().skip(3).collect::<Vec<_>>(), ["50.00", "25.00", "75.00", "80.56", "75.00"]);
        let markdown = table.markdown();
        assert!(markdown.contains("| ELOC, epsilon 0 | 50.00 | 25.00 | 75.00 | 80.56 | 75.00 |"), "{markdown}");
        let latex = table.latex();
        assert!(latex.contains("\nELOC, epsilon 0 & 50.00 & 25.00 & 75.00 & 80.56 & 75.00 \\\\\n"), "{latex}");
        let csv = last(table.csv());
        assert!(csv.starts_with("\"ELOC, epsilon 0\",0.5,0.25,0.75,0.80555"), "{csv}");
    }

    #[test]
    fn intervals_stand_beside_their_metrics() {
        let table = table(20);
        let auroc = percents(table.scores[0].intervals.unwrap().auroc);
        assert!(table.text().contains(&format!("[{auroc}]")), "{}", table.text());
        assert!(table.markdown().contains(&format!("| 75.00 ({auroc}) |")), "{}", table.markdown());
        assert!(table.latex().contains(&format!("& 75.00 {{\\small [{auroc}]}} &")), "{}", table.latex());
        let csv = table.csv();
        let columns: Vec<usize> =
            csv.lines().map(|line| line.rsplit("0\",").next().unwrap().split(',').count()).collect();
        assert_eq!(columns, [16, 15]);
    }

    #[test]
    fn a_table_comes_back_from_json() {
        for table in [table(0), table(20)] {
            assert_eq!(serde_json::from_str::<Table>(&serde_json::to_string(&table).unwrap()).unwrap(), table);
        }
    }
}
