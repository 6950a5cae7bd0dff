//! The mean of several AUROCs of the same scores, and how sure a difference between two such means is.

use super::delong::{mean, placements};

/// The images on one side of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// `[n]`; higher = more in-distribution.
    pub scores: &'a [f64],
    /// `[n]`, which picture each was made from: images of one picture are not independent of each other.
    pub pictures: &'a [usize],
}

/// The weighted mean of some AUROCs, and what each picture contributes to its error.
#[derive(Clone, Debug)]
pub struct MeanAuroc {
    /// As a fraction.
    pub auroc: f64,
    /// `[pictures]`, by how much the mean would move with the weight of a picture: its influence, divided by the number of images.
    influences: Vec<f64>,
}

impl MeanAuroc {
    /// Of comparisons of `[in-distribution, out-of-distribution]` images, each with its weight, over so many `pictures`.
    ///
    /// Weights sum to 1. A picture may be on either side of each comparison and on different ones of two. Ties count half. Source:
    /// the placements of DeLong et al. 1988, whose variance for a single AUROC this is but for `n / (n - 1)`.
    ///
    /// # Panics
    /// Where a side is empty, or a picture is not below `pictures`.
    pub fn new(comparisons: &[(f64, [Scored; 2])], pictures: usize) -> Self {
        let (mut auroc, mut influences) = (0.0, vec![0.0; pictures]);
        for (weight, [id, ood]) in comparisons {
            assert!(!id.scores.is_empty() && !ood.scores.is_empty(), "images on both sides");
            let placements = placements(id.scores, ood.scores);
            let area = mean(&placements.id);
            auroc += weight * area;
            for (side, placements) in [(id, placements.id), (ood, placements.ood)] {
                let share = weight / placements.len() as f64;
                for (&picture, placement) in side.pictures.iter().zip(placements) {
                    influences[picture] += share * (placement - area);
                }
            }
        }
        MeanAuroc { auroc, influences }
    }

    /// Standard error of the difference between this and `other`, of the same comparisons by other scores.
    pub fn error_of_difference(&self, other: &MeanAuroc) -> f64 {
        let differences = self.influences.iter().zip(&other.influences).map(|(a, b)| a - b);
        differences.map(|difference| difference * difference).sum::<f64>().sqrt()
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::{
        super::delong::{delong, variance},
        *,
    };

    fn scores(count: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        (0..count).map(|_| f64::from(rng.random_range(0..20))).collect()
    }

    #[test]
    fn of_one_comparison_it_is_delongs() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (n, m) = (300, 200);
        let [id, ood] = [n, m].map(|count| [scores(count, &mut rng), scores(count, &mut rng)]);
        let (known, unknown): (Vec<usize>, Vec<usize>) = ((0..n).collect(), (n..n + m).collect());
        let of = |score: usize| {
            let sides = [(&id, &known), (&ood, &unknown)];
            let sides = sides.map(|(scores, pictures)| Scored { scores: &scores[score], pictures });
            MeanAuroc::new(&[(1.0, sides)], n + m)
        };
        let (first, second) = (of(0), of(1));
        let expected = delong([&id[0], &id[1]], [&ood[0], &ood[1]]).unwrap();
        assert!((first.auroc - second.auroc - expected.difference).abs() < 1e-12);
        // DeLong's divides by one less.
        assert!((first.error_of_difference(&second) / expected.standard_error.unwrap() - 1.0).abs() < 0.005);
    }

    /// The spread of the mean over many draws of all pictures, of which some are on both sides.
    #[test]
    fn error_is_the_spread_over_many_draws() {
        const PICTURES: usize = 120;
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (known, all): (Vec<usize>, Vec<usize>) = ((0..80).collect(), (0..PICTURES).collect());
        let (mut differences, mut errors) = (Vec::new(), Vec::new());
        for _ in 0..400 {
            // A copy of a picture has nearly its score, by both scores.
            let quality: Vec<f64> = (0..PICTURES).map(|_| rng.random_range(0.0..1.0)).collect();
            let mut of = |noise: f64| {
                let score = |quality: &f64, rng: &mut ChaCha8Rng| quality + noise * rng.random_range(-1.0..1.0);
                let originals: Vec<f64> = quality[..80].iter().map(|quality| score(quality, &mut rng) + 0.3).collect();
                let copies: Vec<f64> = quality.iter().map(|quality| score(quality, &mut rng)).collect();
                let id = Scored { scores: &originals, pictures: &known };
                let comparisons = [
                    (0.5, [id, Scored { scores: &copies[80..], pictures: &all[80..] }]),
                    (0.5, [id, Scored { scores: &copies[..80], pictures: &all[..80] }]),
                ];
                MeanAuroc::new(&comparisons, PICTURES)
            };
            let (clear, noisy) = (of(0.1), of(1.0));
            differences.push(clear.auroc - noisy.auroc);
            errors.push(clear.error_of_difference(&noisy));
        }
        let spread = variance(&differences).unwrap().sqrt();
        let error = mean(&errors);
        assert!((error / spread - 1.0).abs() < 0.15, "{error} {spread}");
    }
}
