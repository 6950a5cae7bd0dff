//! The log of one fold's training: a line of JSON for each epoch, and a plot of the curves.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use eloc::training::checkpoint::EpochRecord;
use plotters::prelude::*;

use super::store;

/// Width and height of the plot in pixels.
const PLOT_SIZE: (u32, u32) = (720, 420);

/// Where one fold's log goes.
pub struct Log {
    lines: PathBuf,
    plot: PathBuf,
    fold: usize,
}

impl Log {
    /// The log of fold `fold` of the run in `run`.
    pub fn new(run: &Path, fold: usize) -> Self {
        let file = |extension: &str| run.join(format!("logs/fold-{fold}.{extension}"));
        Log { lines: file("jsonl"), plot: file("svg"), fold }
    }

    /// Writes the epochs so far.
    pub fn write(&self, history: &[EpochRecord]) -> Result<()> {
        let mut lines = String::new();
        for epoch in history {
            lines += &serde_json::to_string(epoch)?;
            lines += "\n";
        }
        store::write(&self.lines, lines.as_bytes())?;
        store::write(&self.plot, plot(self.fold, history).map_err(|error| anyhow!("plot: {error}"))?.as_bytes())
    }
}

/// One value of each epoch.
type Quantity = fn(&EpochRecord) -> f64;

/// Loss, accuracies and AUROC over the epochs, as SVG.
fn plot(fold: usize, history: &[EpochRecord]) -> Result<String, Box<dyn std::error::Error + '_>> {
    let mut svg = String::new();
    {
        let last = history.len().max(2) as f64;
        let top = history.iter().map(|epoch| epoch.loss).fold(1.0, f64::max);
        let root = SVGBackend::with_string(&mut svg, PLOT_SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(format!("fold {fold}"), ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .right_y_label_area_size(48)
            .build_cartesian_2d(1.0..last, 0.0..top)?
            .set_secondary_coord(1.0..last, 0.0..1.0);
        chart.configure_mesh().x_desc("epoch").y_desc("training loss").draw()?;
        chart.configure_secondary_axes().y_desc("accuracy, AUROC").draw()?;
        let points = |of: Quantity| history.iter().map(move |epoch| (epoch.epoch as f64, of(epoch)));
        let key = |colour: RGBColor| move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
        chart
            .draw_series(LineSeries::new(points(|epoch| epoch.loss), BLACK.stroke_width(2)))?
            .label("training loss")
            .legend(key(BLACK));
        let curves: [(&str, RGBColor, Quantity); 3] = [
            ("training accuracy", RGBColor(0, 114, 178), |epoch| epoch.accuracy),
            ("held-out accuracy", RGBColor(213, 94, 0), |epoch| epoch.validation.accuracy),
            ("held-out AUROC", RGBColor(0, 158, 115), |epoch| epoch.validation.auroc),
        ];
        for (label, colour, of) in curves {
            chart
                .draw_secondary_series(LineSeries::new(points(of), colour.stroke_width(2)))?
                .label(label)
                .legend(key(colour));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
        root.present()?;
    }
    Ok(svg)
}
