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
        outliers::{Pictures, outlier},
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
    pub normalisation: Normalisation,
    /// Where there are made outliers.
    pictures: Option<Pictures>,
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
            normalisation: data.normalisation,
            pictures: (recipe.outlier_batch > 0).then(Pictures::new),
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
        let pictures = self.pictures.as_ref()?;
        let mut rng = self.rng(Purpose::Outliers, step as u32);
        let any_image = |rng: &mut ChaCha8Rng| self.train.image(rng.random_range(0..self.train.len() as u32) as usize);
        let mut pixels = vec![0; self.recipe.outlier_batch * PIXELS];
        pixels.chunks_exact_mut(PIXELS).for_each(|out| outlier(pictures, &mut rng, any_image, out));
        Some(pixels)
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
