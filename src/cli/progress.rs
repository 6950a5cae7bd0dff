//! Progress bars with time left, and the time that a training will take.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    time::{Duration, Instant},
};

use eloc::{
    error::Result,
    fold::Fold,
    images::dataset::Dataset,
    network::Network,
    training::{checkpoint::Checkpoint, data::steps_per_epoch, recipe::Recipe, trial::trial_step},
};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::output;

/// Time between two lines about a scoring pass.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// The epochs whose pace the time left is reckoned with.
const RECENT_EPOCHS: usize = 9;

/// A bar over the steps of all folds still to train. Off a terminal the time left follows the line of each epoch.
pub struct Progress {
    bar: ProgressBar,
    /// Steps of one epoch of each fold, by fold number.
    steps: Vec<(usize, usize)>,
    epochs: usize,
    /// The fold that is being trained and the steps of the folds before it.
    fold: Cell<(usize, usize)>,
    pace: RefCell<Pace>,
    /// Steps done, and when, at the end of the last epoch, or where the fold began.
    since: Cell<(u64, Instant)>,
}

/// How long a step takes with all that comes between, by the epochs so far.
#[derive(Default)]
struct Pace {
    /// Seconds a step in each of the last epochs.
    epochs: VecDeque<f64>,
}

impl Pace {
    fn add(&mut self, steps: u64, time: Duration) {
        if steps == 0 {
            return;
        }
        if self.epochs.len() == RECENT_EPOCHS {
            self.epochs.pop_front();
        }
        self.epochs.push_back(time.as_secs_f64() / steps as f64);
    }

    /// The time for `steps` more: the median of the epochs' paces, which one slow epoch does not change; `None` before the
    /// end of the first.
    fn time(&self, steps: u64) -> Option<Duration> {
        let mut sorted: Vec<f64> = self.epochs.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len().checked_sub(1)?;
        let median = (sorted[middle / 2] + sorted[middle.div_ceil(2)]) / 2.0;
        Some(Duration::from_secs_f64(median * steps as f64))
    }
}

impl Progress {
    /// A bar for the training of `folds`.
    pub fn training(recipe: &Recipe, folds: &[&Fold], train: &Dataset) -> Self {
        let kept = |fold: &Fold| fold.partition(&train.labels).0.len();
        let steps: Vec<(usize, usize)> =
            folds.iter().map(|fold| (fold.number, steps_per_epoch(kept(fold), recipe.batch))).collect();
        let total = steps.iter().map(|(_, steps)| steps * recipe.total_epochs()).sum::<usize>() as u64;
        let bar = bar(total, "{bar:30} {pos}/{len} steps, {prefix}{msg}");
        Progress {
            bar,
            steps,
            epochs: recipe.total_epochs(),
            fold: Cell::default(),
            pace: RefCell::default(),
            since: Cell::new((0, Instant::now())),
        }
    }

    /// Goes to the first step of a fold after its finished `epochs`.
    pub fn start_fold(&self, fold: usize, epochs: usize) {
        let before = self.steps.iter().take_while(|(number, _)| *number != fold);
        let before: usize = before.map(|(_, steps)| steps * self.epochs).sum();
        let in_epoch = self.steps.iter().find(|(number, _)| *number == fold).map_or(0, |(_, steps)| *steps);
        self.fold.set((fold, before));
        self.bar.set_position((before + epochs * in_epoch) as u64);
        self.since.set((self.bar.position(), Instant::now()));
    }

    /// The time that the steps to come will take, by the epochs so far or by the steps of the first.
    fn time_left(&self) -> Option<Duration> {
        let done = self.bar.position();
        let left = self.bar.length().unwrap_or_default().saturating_sub(done);
        let (before, start) = self.since.get();
        let mut first = Pace::default();
        first.add(done - before, start.elapsed());
        self.pace.borrow().time(left).or(first.time(left))
    }

    /// Step `step` of the fold that was started last.
    pub fn step(&self, step: usize, loss: f64, accuracy: f64) {
        let (fold, before) = self.fold.get();
        self.bar.set_position((before + step) as u64);
        if let Some(left) = self.time_left() {
            self.bar.set_prefix(format!("{} left; ", duration(left)));
        }
        self.bar.set_message(format!("fold {fold} loss {loss:.3} accuracy {:.1}%", 100.0 * accuracy));
    }

    /// Prints the line of a finished epoch.
    pub fn epoch(&self, checkpoint: &Checkpoint) {
        let Some(epoch) = checkpoint.history.last() else { return };
        let (fold, _) = self.fold.get();
        let (done, now) = (self.bar.position(), Instant::now());
        let (since, start) = self.since.replace((done, now));
        self.pace.borrow_mut().add(done.saturating_sub(since), now - start);
        self.say(&format!(
            "fold {fold} epoch {}/{}: loss {:.3}, accuracy {:.1}%, held-out accuracy {:.1}%, AUROC {:.2}%, {}{}",
            epoch.epoch,
            self.epochs,
            epoch.loss,
            100.0 * epoch.accuracy,
            100.0 * epoch.validation.accuracy,
            100.0 * epoch.validation.auroc,
            duration(Duration::from_secs_f64(epoch.seconds)),
            if checkpoint.selected == Some(epoch.epoch) { ", selected" } else { "" },
        ));
        if let Some(left) = self.time_left().filter(|_| self.bar.is_hidden() && Some(done) < self.bar.length()) {
            self.say(&format!("{} left", duration(left)));
        }
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: &str) {
        // A training goes on when nobody reads its lines any more; the log has them too.
        self.bar.suspend(|| drop(output::line(line)));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar over the images of one scoring pass. Off a terminal a line is printed every minute.
pub struct Images {
    bar: ProgressBar,
    /// When the last line was printed, or the pass began.
    printed: Cell<Instant>,
}

impl Images {
    /// A bar over `total` images.
    pub fn new(total: usize, what: String) -> Self {
        let bar = bar(total as u64, "{bar:30} {pos}/{len} images, {per_sec}, {eta} left; {msg}");
        bar.set_message(output::in_one_line(&what));
        Images { bar, printed: Cell::new(Instant::now()) }
    }

    /// What is scored.
    pub fn what(&self) -> String {
        self.bar.message()
    }

    /// Some more were computed.
    pub fn add(&self, images: usize) {
        self.bar.inc(images as u64);
        if self.bar.is_hidden() && self.printed.get().elapsed() >= BETWEEN_LINES {
            self.printed.set(Instant::now());
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let left = duration(self.bar.eta());
            output::note(format_args!("{}: {done} of {all} images, {left} left", self.what()));
        }
    }

    /// Some more were at hand.
    pub fn skip(&self, images: usize) {
        self.bar.inc(images as u64);
        self.bar.reset_eta();
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar of any kind; it is drawn on the error stream, and only on a terminal.
pub fn bar(total: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the templates are constants");
    ProgressBar::new(total).with_style(style)
}

/// About how long one training step takes, and its loss.
pub fn step_time(
    network: &Network,
    recipe: &Recipe,
    classes: usize,
    device: &burn::tensor::Device,
) -> Result<(Duration, f64)> {
    let mut step = trial_step(network, recipe, classes, device);
    // The first one also compiles.
    step()?;
    let start = Instant::now();
    let loss = step()?;
    Ok((start.elapsed(), loss))
}

/// For people: `3 minutes`.
pub fn duration(duration: Duration) -> String {
    HumanDuration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred epochs of 100 steps, 10 s each give or take 2 s, of which every seventh takes ten times as long.
    #[test]
    fn time_left_does_not_jump() {
        let mut pace = Pace::default();
        assert_eq!(pace.time(100), None);
        let mut times = Vec::new();
        for epoch in 0..100_u64 {
            let noisy = 10.0 + 2.0 * (epoch as f64 * 1.7).sin();
            let seconds = if epoch % 7 == 3 { 10.0 * noisy } else { noisy };
            pace.add(100, Duration::from_secs_f64(seconds));
            times.push(pace.time(100).unwrap().as_secs_f64());
        }
        assert!(times[5..].iter().all(|time| (8.0..13.0).contains(time)), "{times:?}");
        // A machine that has become slower for good is noticed within as many epochs.
        (0..RECENT_EPOCHS).for_each(|_| pace.add(100, Duration::from_secs(30)));
        assert_eq!(pace.time(50), Some(Duration::from_secs(15)));
        pace.add(0, Duration::from_secs(9));
        assert_eq!(pace.time(50), Some(Duration::from_secs(15)));
    }
}
