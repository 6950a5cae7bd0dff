//! The images that the choice of the epoch looks at.

use anyhow::{Result, ensure};
use eloc::{
    fold::{self, Fold},
    images::{dataset::Dataset, image::PIXELS},
    training::recipe::Selection,
    weights::manifest::sha256,
};

use super::args::TrainArgs;
use crate::cli::data::{self, TrainingData};

/// Images of each class or set that the published selection rule looks at, and the seed it draws them with.
const REFERENCE_IMAGES: usize = 1000;

/// The images that the choice of the epoch looks at.
pub struct Validation {
    id: Dataset,
    /// Images that were given beside the fold's own left-out classes.
    ood: Option<Vec<u8>>,
    /// Whether these alone are out-of-distribution, and the fold's left-out classes are not, as in the sources.
    as_published: bool,
}

impl Validation {
    /// Those that the arguments, which were checked, name beside held-out images, or with [`Selection::Reference`] in their place.
    pub fn new(args: &TrainArgs, selection: Selection, data: &TrainingData, held_out: &Dataset) -> Result<Self> {
        let load = |name| Ok::<_, anyhow::Error>(data::image_set(name, &args.data)?.load());
        let ood = args.validation_ood.as_deref().map(load).transpose()?;
        if selection != Selection::Reference {
            let as_published = selection == Selection::Paper;
            return Ok(Validation { id: held_out.clone(), ood: ood.map(|set| set.images), as_published });
        }
        let first = |images: usize| -> Vec<usize> {
            let mut order = fold::permutation(fold::DEFAULT_SEED, images);
            order.truncate(REFERENCE_IMAGES);
            order
        };
        let ood = ood.expect("checked with the arguments");
        let chosen = first(ood.len()).into_iter().flat_map(|index| ood.image(index)).copied().collect();
        Ok(Validation { id: data.test.subset(&first(data.test.len())), ood: Some(chosen), as_published: true })
    }

    /// Hash of the images, where they are others than the fold's own classes.
    pub fn sha256(&self) -> Option<String> {
        self.ood.as_ref().map(|ood| sha256(&[&self.id.images[..], ood].concat()))
    }

    /// Refuses images that nothing can be chosen by.
    pub fn check(&self, fold: &Fold, data: &TrainingData) -> Result<()> {
        let (id, ood) = self.of(fold);
        ensure!(
            !id.is_empty() && !ood.is_empty(),
            "{}: expected held-out images of the classes that fold {} keeps and of those that it leaves out, found {} and \
             {}; give each class more images",
            data.name,
            fold.number,
            id.len(),
            ood.len() / PIXELS
        );
        Ok(())
    }

    /// In- and out-of-distribution images for one fold.
    pub fn of(&self, fold: &Fold) -> (Dataset, Vec<u8>) {
        let given = self.ood.as_deref().unwrap_or_default();
        if self.as_published {
            return (self.id.clone(), given.to_owned());
        }
        let (kept, left_out) = fold.partition(&self.id.labels);
        (self.id.subset(&kept), [&self.id.subset(&left_out).images, given].concat())
    }
}

#[cfg(test)]
mod tests {
    use eloc::images::synthetic;

    use super::*;

    #[test]
    fn left_out_classes_are_out_of_distribution_but_in_the_sources() {
        let id = synthetic::shapes(2, 1);
        let fold = &fold::folds(10, 5, 3).unwrap()[1];
        let given = vec![7; 3 * PIXELS];
        let sizes = |ood: Option<Vec<u8>>, as_published| {
            let (id, ood) = Validation { id: id.clone(), ood, as_published }.of(fold);
            (id.len(), ood.len() / PIXELS)
        };
        assert_eq!(sizes(None, false), (16, 4));
        assert_eq!(sizes(Some(given.clone()), false), (16, 4 + 3));
        assert_eq!(sizes(Some(given), true), (20, 3));
    }
}
