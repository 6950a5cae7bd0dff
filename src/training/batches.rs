//! Training batches: which images, in which order, augmented how. All of it is a function of the seed and the step.

use std::ops::Range;

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    error::{Error, Result},
    fold::Fold,
    images::{
        dataset::Dataset,
        image::{Normalisation, PIXELS},
    },
    training::{
        augment::augment,
        data::{FoldData, steps_per_epoch},
        learner::Batch,
        outliers::outlier,
        recipe::Recipe,
    },
};

/// What a random stream is for; streams of two purposes never meet.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Weights,
    KeptOrder,
    LeftOutOrder,
    Augmentation,
    Outliers,
}

/// The training images of one fold.
pub(crate) struct Batches<'a> {
    pub fold: &'a Fold,
    /// Indices of the kept-class images, in a seeded order.
    pub kept: Vec<usize>,
    left_out: Vec<usize>,
    pub recipe: &'a Recipe,
    train: &'a Dataset,
    teacher: Option<&'a [f32]>,
    pub normalisation: Normalisation,
}

impl<'a> Batches<'a> {
    pub fn new(recipe: &'a Recipe, data: &FoldData<'a>) -> Result<Self> {
        let (kept, left_out) = data.fold.partition(&data.train.labels);
        let uses_left_out = recipe.uses_left_out(data.fold);
        if kept.is_empty() || (uses_left_out && left_out.is_empty()) {
            return Err(Error::FoldData { fold: data.fold.number, kept: kept.len(), left_out: left_out.len() });
        }
        let mut batches = Batches {
            fold: data.fold,
            kept,
            left_out: if uses_left_out { left_out } else { Vec::new() },
            recipe,
            train: data.train,
            teacher: data.teacher,
            normalisation: data.normalisation,
        };
        let mut rng = batches.rng(Purpose::KeptOrder, u32::MAX);
        batches.kept.shuffle(&mut rng);
        Ok(batches)
    }

    /// The generator of one purpose and index of this fold.
    pub fn rng(&self, purpose: Purpose, index: u32) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.recipe.seed);
        rng.set_stream((self.fold.number as u64) << 40 | (purpose as u64) << 32 | u64::from(index));
        rng
    }

    /// The batches of `steps`, counted over the whole run, all of one epoch (counted from 0).
    pub fn epoch(&self, epoch: usize, steps: Range<usize>) -> impl Iterator<Item = Batch> {
        let mut order = self.kept.clone();
        order.shuffle(&mut self.rng(Purpose::KeptOrder, epoch as u32));
        let mut cycle = LeftOutCycle { batches: self, pass: None, order: Vec::new() };
        let first = epoch * steps_per_epoch(self.kept.len(), self.recipe.batch);
        steps.map(move |step| {
            let mut rng = self.rng(Purpose::Augmentation, step as u32);
            let kept = order.iter().skip((step - first) * self.recipe.batch).take(self.recipe.batch);
            let kept: Vec<usize> = kept.copied().collect();
            let left_out = cycle.take(step);
            Batch {
                labels: kept.iter().map(|&index| self.logit(index)).collect(),
                targets: self.targets(&kept),
                kept: self.augmented(&kept, &mut rng),
                left_out: (!left_out.is_empty()).then(|| self.augmented(&left_out, &mut rng)),
                outliers: self.outliers(step),
            }
        })
    }

    /// The images of `indices` as they are.
    pub fn pixels(&self, indices: &[usize]) -> Vec<u8> {
        indices.iter().flat_map(|&index| self.train.image(index)).copied().collect()
    }

    fn augmented(&self, indices: &[usize], rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut pixels = vec![0; indices.len() * PIXELS];
        for (out, &index) in pixels.chunks_exact_mut(PIXELS).zip(indices) {
            augment(self.train.image(index), &self.recipe.augmentation, rng, out);
        }
        pixels
    }

    /// The images of `step` that are made.
    fn outliers(&self, step: usize) -> Option<Vec<u8>> {
        if self.recipe.outlier_batch == 0 {
            return None;
        }
        let mut rng = self.rng(Purpose::Outliers, step as u32);
        let any_image = |rng: &mut ChaCha8Rng| self.train.image(rng.random_range(0..self.train.len() as u32) as usize);
        let mut pixels = vec![0; self.recipe.outlier_batch * PIXELS];
        pixels.chunks_exact_mut(PIXELS).for_each(|out| outlier(&mut rng, any_image, out));
        Some(pixels)
    }

    /// `[n, kept classes]`, the share of the recipe from what the teacher makes of the kept classes, the rest from the label.
    fn targets(&self, indices: &[usize]) -> Option<Vec<f32>> {
        let (teacher, classes, share) = (self.teacher?, self.train.classes.len(), self.recipe.teacher_share as f32);
        let mut targets = Vec::with_capacity(indices.len() * self.fold.kept.len());
        for &index in indices {
            let start = targets.len();
            let row = &teacher[index * classes..][..classes];
            targets.extend(self.fold.kept.iter().map(|&class| row[class]));
            let sum: f32 = targets[start..].iter().sum();
            // A teacher may be certain of a class that this fold leaves out.
            let share = if sum > 0.0 { share } else { 0.0 };
            targets[start..].iter_mut().for_each(|probability| *probability *= share / sum.max(f32::MIN_POSITIVE));
            targets[start + self.logit(index) as usize] += 1.0 - share;
        }
        Some(targets)
    }

    fn logit(&self, index: usize) -> i64 {
        let class = usize::from(self.train.labels[index]);
        self.fold.logit(class).expect("the image is of a kept class") as i64
    }
}

/// Goes round and round the left-out images, in a new order each time.
struct LeftOutCycle<'a> {
    batches: &'a Batches<'a>,
    pass: Option<usize>,
    order: Vec<usize>,
}

impl LeftOutCycle<'_> {
    /// Indices of the left-out images of `step`.
    fn take(&mut self, step: usize) -> Vec<usize> {
        let (size, images) = (self.batches.recipe.left_out_batch, self.batches.left_out.len());
        if images == 0 {
            return Vec::new();
        }
        (step * size..(step + 1) * size)
            .map(|position| {
                let pass = position / images;
                if self.pass != Some(pass) {
                    self.order.clone_from(&self.batches.left_out);
                    self.order.shuffle(&mut self.batches.rng(Purpose::LeftOutOrder, pass as u32));
                    self.pass = Some(pass);
                }
                self.order[position % images]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::synthetic;

    /// Of four classes the fold keeps the last two, in another order; the teacher is certain of a class that it leaves out, and
    /// of none.
    #[test]
    fn targets_are_the_teachers_kept_classes_and_the_label() {
        let fold = Fold { number: 1, left_out: vec![0, 1], kept: vec![3, 2] };
        let train = Dataset {
            images: synthetic::uniform_noise(0..2, 1).images,
            labels: vec![2, 3],
            classes: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
        };
        let recipe = Recipe { left_out_batch: 0, teacher_share: 0.6, ..Recipe::quick() };
        let teacher = [1.0, 0.0, 0.0, 0.0, 0.5, 0.1, 0.1, 0.3];
        let data = FoldData {
            fold: &fold,
            train: &train,
            validation: &train,
            validation_ood: &[],
            teacher: Some(&teacher),
            normalisation: Normalisation::default(),
        };
        let targets = Batches::new(&recipe, &data).unwrap().targets(&[1, 0]).unwrap();
        for (found, expected) in targets.iter().zip([0.6 * 0.75 + 0.4, 0.6 * 0.25, 0.0, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{targets:?}");
        }
        let alone = FoldData { teacher: None, ..data };
        assert!(Batches::new(&recipe, &alone).unwrap().targets(&[1, 0]).is_none());
    }
}
