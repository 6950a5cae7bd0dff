//! Confidence scores of one image, from the logits of one or more folds.
//!
//! In: one image's logits (one per class, single precision; an ensemble's in double) and, where a score has one, a temperature > 0.
//! Out: one number, higher for images that look more in-distribution. The image's ensemble score is
//! the sum of [`eloc`] over the folds, each after its own perturbation.
//!
//! At temperature 1000 softmax is nearly uniform and the ranking of images lives in its seventh
//! digit, so everything here is `f64`. Logits are centred on the largest, whose term is then
//! exactly 1: nothing overflows, and the entropy of a softmax of almost 1 keeps its digits.
//!
//! Logits that are not numbers or +inf give scores that are not finite, which [`crate::evaluation::metrics`]
//! reports.

use crate::fold::Fold;

/// Exponent of [`gen_score`]; Liu et al. 2023.
pub const GEN_EXPONENT: f64 = 0.1;

/// Most probabilities that [`gen_score`] takes in; Liu et al. 2023.
pub const GEN_CLASSES: usize = 100;

/// Score of one fold: `max p - H(p)` with `p = softmax(z / T)`.
///
/// From `1/C - ln C` (uniform) to 1 (certain) for `C` logits; higher is more in-distribution. `H`
/// is [`entropy`]. Source: Vyas et al. 2018, algorithm 2 (T = 1000).
///
/// # Panics
/// Without logits.
pub fn eloc(logits: &[impl Copy + Into<f64>], temperature: f64) -> f64 {
    let scaled = Scaled::new(logits, temperature);
    (-scaled.log_partition).exp() - scaled.entropy()
}

/// Highest softmax probability, `max p` with `p = softmax(z / T)`.
///
/// From `1/C` to 1; higher is more in-distribution. Source: Hendrycks & Gimpel 2017 for T = 1;
/// Liang et al. 2018 (ODIN) for T = 1000 on the perturbed image.
///
/// # Panics
/// Without logits.
pub fn max_softmax(logits: &[f32], temperature: f64) -> f64 {
    (-Scaled::new(logits, temperature).log_partition).exp()
}

/// Negative free energy, `T ln sum exp(z / T)`.
///
/// Any real number, at least the largest logit; higher is more in-distribution. Source: Liu et al.
/// 2020 (its energy is the negative of this).
///
/// # Panics
/// Without logits.
pub fn energy(logits: &[f32], temperature: f64) -> f64 {
    max_logit(logits) + temperature * Scaled::new(logits, temperature).log_partition
}

/// Largest logit.
///
/// Any real number; higher is more in-distribution. Source: Hendrycks et al. 2022, "Scaling
/// out-of-distribution detection for real-world settings".
///
/// # Panics
/// Without logits.
pub fn max_logit(logits: &[f32]) -> f64 {
    largest(logits).1
}

/// Negative generalised entropy, `-sum p^g (1 - p)^g` over the `min(100, C)` largest `p`, `g` =
/// 0.1.
///
/// At most 0 (certain); higher is more in-distribution. `p` must sum to 1. Source: Liu et al. 2023
/// (GEN).
///
/// # Panics
/// Without probabilities.
pub fn gen_score(p: &[f64]) -> f64 {
    let mut sorted = p.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (&largest, rest) = sorted.split_first().expect("softmax has at least one class");
    // With an exponent of 0.1 a remainder of 1e-17 still counts 0.02, and `1 - largest` has lost
    // it.
    let remainder: f64 = rest.iter().rev().sum();
    let term = |p: f64, remainder: f64| (p * remainder).powf(GEN_EXPONENT);
    let rest = rest.iter().take(GEN_CLASSES - 1);
    -(term(largest, remainder) + rest.map(|&p| term(p, 1.0 - p)).sum::<f64>())
}

/// Entropy `-sum p ln p` in nats, with `0 ln 0 = 0`.
///
/// From 0 (certain) to `ln C` (uniform); lower is more in-distribution. Source: the `H` of Vyas et
/// al. 2018.
pub fn entropy(p: &[f64]) -> f64 {
    p.iter().filter(|&&p| p != 0.0).map(|&p| -p * p.ln()).sum()
}

/// Probabilities `exp(z / T) / sum exp(z / T)`, one per logit, that sum to 1.
///
/// # Panics
/// Without logits.
pub fn softmax(logits: &[impl Copy + Into<f64>], temperature: f64) -> Vec<f64> {
    Scaled::new(logits, temperature).probabilities().collect()
}

/// The folds' mean probability of each of `classes` classes: the mean of their softmax at T = 1, with 0 for the classes a fold
/// leaves out.
///
/// `fold_logits` holds each fold with its logits of the unperturbed image. The result sums to 1; a class that one of five folds
/// leaves out reaches 0.8. Source: Lakshminarayanan et al. 2017; Vyas et al. 2018 for the classes left out.
///
/// # Panics
/// Where a fold's logits are not one per kept class, or a kept class is not below `classes`.
pub fn mean_softmax(fold_logits: &[(&Fold, &[f32])], classes: usize) -> Vec<f64> {
    let mut mean = vec![0.0; classes];
    for (fold, logits) in fold_logits {
        assert_eq!(logits.len(), fold.kept.len(), "fold {}: one logit per kept class", fold.number);
        for (&class, probability) in fold.kept.iter().zip(softmax(logits, 1.0)) {
            mean[class] += probability / fold_logits.len() as f64;
        }
    }
    mean
}

/// The ensemble's logits, one for each of `classes` classes: the mean, over the folds that know the class, of its log-probability
/// `ln softmax(z)` there; minus infinity for a class that none of them knows.
///
/// A fold says nothing about the classes that it leaves out, so that softmax of these gives probabilities that reach 1. Where all
/// folds know all classes it is the logarithmic opinion pool (Genest and Zidek 1986).
///
/// # Panics
/// As [`mean_softmax`].
pub fn pooled_logits(fold_logits: &[(&Fold, &[f32])], classes: usize) -> Vec<f64> {
    let (mut sums, mut counts) = (vec![0.0; classes], vec![0u32; classes]);
    for (fold, logits) in fold_logits {
        assert_eq!(logits.len(), fold.kept.len(), "fold {}: one logit per kept class", fold.number);
        let scaled = Scaled::new(logits, 1.0);
        for (&class, offset) in fold.kept.iter().zip(&scaled.offsets) {
            sums[class] += offset - scaled.log_partition;
            counts[class] += 1;
        }
    }
    let pooled = |(sum, count): (f64, u32)| if count == 0 { f64::NEG_INFINITY } else { sum / f64::from(count) };
    sums.into_iter().zip(counts).map(pooled).collect()
}

/// Logits divided by the temperature and centred on the largest, so that nothing overflows.
struct Scaled {
    /// `(z - max z) / T`, none above 0.
    offsets: Vec<f64>,
    /// `exp(offsets)`.
    terms: Vec<f64>,
    /// `ln sum exp(offsets)`, from 0 to `ln C`; the largest probability is `exp` of its negative.
    log_partition: f64,
}

impl Scaled {
    fn new(logits: &[impl Copy + Into<f64>], temperature: f64) -> Self {
        let (argmax, max) = largest(logits);
        let offsets: Vec<f64> = logits.iter().map(|&logit| (logit.into() - max) / temperature).collect();
        let terms: Vec<f64> = offsets.iter().map(|offset| offset.exp()).collect();
        // The largest logit's term is 1, or not a number: less 1, so that small others are not
        // lost.
        let others = terms.iter().enumerate().map(|(i, term)| if i == argmax { term - 1.0 } else { *term });
        let log_partition = others.sum::<f64>().ln_1p();
        Scaled { offsets, terms, log_partition }
    }

    fn probabilities(&self) -> impl Iterator<Item = f64> {
        let largest = (-self.log_partition).exp();
        self.terms.iter().map(move |term| term * largest)
    }

    /// `H = -sum p ln p`, where `ln p` is the offset less the log partition, the `p` sum to 1 and `0 ln 0 = 0`.
    fn entropy(&self) -> f64 {
        let terms = self.probabilities().zip(&self.offsets).filter(|(p, _)| *p != 0.0).map(|(p, offset)| p * offset);
        self.log_partition - terms.sum::<f64>()
    }
}

/// Index and value of the largest logit, the first of equals; a logit that is not a number wins.
fn largest(logits: &[impl Copy + Into<f64>]) -> (usize, f64) {
    let values = logits.iter().map(|&logit| logit.into());
    values
        .enumerate()
        .reduce(|a, b| if a.1 >= b.1 || a.1.is_nan() { a } else { b })
        .expect("a network has at least one logit")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        name: String,
        logits: Vec<f32>,
        max_logit: f64,
        scores: Vec<Golden>,
    }

    #[derive(Deserialize)]
    struct Golden {
        temperature: f64,
        eloc: f64,
        eloc_above_uniform: f64,
        max_softmax: f64,
        entropy: f64,
        energy: f64,
        r#gen: f64,
    }

    fn golden() -> Vec<Case> {
        serde_json::from_str(include_str!("../../tests/golden/scores.json")).unwrap()
    }

    fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
        let scale = expected.abs();
        assert!((found - expected).abs() <= tolerance * scale, "{what}: {found} is not {expected}");
    }

    /// Exact values from 500-digit arithmetic. A sum over 150 terms of f64 keeps about 14 digits;
    /// GEN's terms of probabilities below 1e-300 and its 100 powers keep 12.
    #[test]
    fn scores_equal_their_exact_values() {
        for case in golden() {
            assert_eq!(max_logit(&case.logits), case.max_logit, "{}", case.name);
            for expected in &case.scores {
                let (logits, t) = (&case.logits[..], expected.temperature);
                let check = |found, expected, tolerance, score| {
                    assert_close(found, expected, tolerance, &format!("{score}, {}, T = {t}", case.name));
                };
                check(eloc(logits, t), expected.eloc, 1e-14, "eloc");
                check(max_softmax(logits, t), expected.max_softmax, 1e-14, "max softmax");
                check(Scaled::new(logits, t).entropy(), expected.entropy, 1e-12, "entropy");
                check(energy(logits, t), expected.energy, 1e-14, "energy");
                check(gen_score(&softmax(logits, t)), expected.r#gen, 1e-12, "GEN");
                // Of probabilities that are rounded already, entropy can only be absolutely
                // accurate.
                assert!((entropy(&softmax(logits, t)) - expected.entropy).abs() < 1e-14, "{}", case.name);
            }
        }
    }

    /// What ranks images at T = 1000 is how far a score lies above that of uniform logits.
    #[test]
    fn eloc_resolves_images_at_temperature_1000() {
        for case in golden() {
            let classes = case.logits.len() as f64;
            for expected in &case.scores {
                let above_uniform = eloc(&case.logits, expected.temperature) - (1.0 / classes - classes.ln());
                let error = (above_uniform - expected.eloc_above_uniform).abs();
                // Scores are near -2 to -5, where neighbouring f64 are 4e-16 to 9e-16 apart.
                assert!(error < 5e-15, "{}: off by {error}", case.name);
            }
        }
    }

    #[test]
    fn scores_by_hand() {
        let logits = [3f32.ln(), 0.0];
        // p = (3/4, 1/4), each within the rounding of ln 3 to f32.
        let expected_entropy = -(0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
        assert_close(softmax(&logits, 1.0)[0], 0.75, 1e-7, "softmax");
        assert_close(max_softmax(&logits, 1.0), 0.75, 1e-7, "max softmax");
        assert_close(Scaled::new(&logits, 1.0).entropy(), expected_entropy, 1e-7, "entropy of logits");
        assert_close(eloc(&logits, 1.0), 0.75 - expected_entropy, 1e-6, "eloc");
        assert_close(energy(&logits, 1.0), 4f64.ln(), 1e-7, "energy");
        assert_eq!(max_logit(&[-2.0, -0.5, -1.0]), -0.5);
        assert_close(gen_score(&[0.75, 0.25]), -2.0 * 0.1875f64.powf(0.1), 1e-15, "GEN");
        assert_close(entropy(&[0.5, 0.5]), 2f64.ln(), 1e-15, "entropy");
        assert_close(energy(&[2.0, 2.0], 10.0), 2.0 + 10.0 * 2f64.ln(), 1e-15, "energy at T = 10");
    }

    #[test]
    fn a_certain_prediction_has_no_entropy() {
        assert_eq!(entropy(&[0.0, 1.0, 0.0]), 0.0);
        assert_eq!(gen_score(&[0.0, 1.0, 0.0]), 0.0);
        assert_eq!(eloc(&[0.0, 1e30, -1e30], 1.0), 1.0);
    }

    #[test]
    fn a_score_of_logits_that_are_not_numbers_is_not_a_number() {
        for logits in [[f32::NAN, 0.0], [0.0, f32::NAN], [0.0, -f32::NAN], [f32::INFINITY, 0.0]] {
            assert!(eloc(&logits, 1000.0).is_nan());
            assert!(max_softmax(&logits, 1.0).is_nan());
            assert!(energy(&logits, 1.0).is_nan());
        }
        assert!(max_logit(&[1.0, f32::NAN, 2.0]).is_nan());
    }

    #[test]
    fn gen_takes_the_hundred_largest_probabilities() {
        let p: Vec<f64> = (1..=150).map(|i| f64::from(i) / (75.0 * 151.0)).collect();
        let expected: f64 = p[50..].iter().map(|p| -(p * (1.0 - p)).powf(0.1)).sum();
        assert_close(gen_score(&p), expected, 1e-13, "GEN");
    }

    #[test]
    fn the_mean_softmax_has_0_for_left_out_classes() {
        let first = Fold { number: 1, left_out: vec![0], kept: vec![2, 1] };
        let second = Fold { number: 2, left_out: vec![1, 2], kept: vec![0] };
        let logits = [3f32.ln(), 0.0];
        let found = mean_softmax(&[(&first, &logits), (&second, &[7.0])], 3);
        for (found, expected) in found.iter().zip([0.5, 0.125, 0.375]) {
            assert_close(*found, expected, 1e-7, "mean softmax");
        }
    }

    #[test]
    #[should_panic(expected = "fold 1: one logit per kept class")]
    fn logits_of_another_fold_are_a_bug() {
        let fold = Fold { number: 1, left_out: vec![0], kept: vec![2, 1] };
        mean_softmax(&[(&fold, &[1.0, 2.0, 3.0])], 3);
    }

    #[test]
    fn pooled_logits_are_the_mean_of_the_folds_that_know_a_class() {
        let first = Fold { number: 1, left_out: vec![0, 3], kept: vec![2, 1] };
        let second = Fold { number: 2, left_out: vec![1, 3], kept: vec![0, 2] };
        let folds: [(&Fold, &[f32]); 2] = [(&first, &[3.0, 1.0]), (&second, &[-4.0, 6.0])];
        let pooled = pooled_logits(&folds, 4);
        let ln = |logits: &[f32]| -> Vec<f64> { softmax(logits, 1.0).into_iter().map(f64::ln).collect() };
        let (first, second) = (ln(&[3.0, 1.0]), ln(&[-4.0, 6.0]));
        for (found, expected) in pooled.iter().zip([second[0], first[1], (first[0] + second[1]) / 2.0]) {
            assert_close(*found, expected, 1e-14, "pooled logit");
        }
        assert_eq!(pooled[3], f64::NEG_INFINITY);
        let p = softmax(&pooled, 1.0);
        assert_eq!(p[3], 0.0);
        // A class that no fold knows does not count.
        assert_eq!(eloc(&pooled, 10.0), eloc(&pooled[..3], 10.0));
    }

    fn logits() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-60f32..60.0, 1..120)
    }

    proptest! {
        #[test]
        fn softmax_sums_to_one(logits in logits(), temperature in 0.1..2000.0) {
            let p = softmax(&logits, temperature);
            prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            prop_assert!(p.iter().all(|p| (0.0..=1.0 + 1e-15).contains(p)));
        }

        #[test]
        fn scores_stay_in_their_ranges(logits in logits(), temperature in 0.1..2000.0) {
            let (count, slack) = (logits.len() as f64, 1e-13);
            let lowest = 1.0 / count - count.ln();
            prop_assert!((lowest - slack..=1.0 + slack).contains(&eloc(&logits, temperature)));
            let max_softmax = max_softmax(&logits, temperature);
            prop_assert!((1.0 / count - slack..=1.0 + slack).contains(&max_softmax));
            let entropy = Scaled::new(&logits, temperature).entropy();
            prop_assert!((-slack..=count.ln() + slack).contains(&entropy));
            prop_assert!(energy(&logits, temperature) >= max_logit(&logits));
            prop_assert!(gen_score(&softmax(&logits, temperature)) <= 0.0);
        }

        #[test]
        fn eloc_is_max_softmax_minus_entropy(logits in logits(), temperature in 0.1..2000.0) {
            let p = softmax(&logits, temperature);
            let expected = p.iter().copied().fold(0.0, f64::max) - entropy(&p);
            prop_assert!((eloc(&logits, temperature) - expected).abs() < 1e-13);
        }

        /// Integers, so that the shifted logits are exact in f32.
        #[test]
        fn scores_do_not_depend_on_an_offset_or_on_the_order_of_logits(
            logits in prop::collection::vec(-60i16..60, 1..120), offset in -1000i16..1000,
        ) {
            let plain: Vec<f32> = logits.iter().map(|&z| f32::from(z)).collect();
            let shifted: Vec<f32> = logits.iter().rev().map(|&z| f32::from(z + offset)).collect();
            prop_assert!((eloc(&plain, 1000.0) - eloc(&shifted, 1000.0)).abs() < 1e-13);
            let energy_change = energy(&shifted, 1.0) - energy(&plain, 1.0);
            prop_assert!((energy_change - f64::from(offset)).abs() < 1e-11);
        }

        #[test]
        fn the_mean_softmax_sums_to_one(values in prop::collection::vec(-30f32..30.0, 40)) {
            let folds = crate::fold::folds(10, 5, 3).unwrap();
            let pairs: Vec<(&Fold, &[f32])> = folds.iter().zip(values.chunks(8)).collect();
            let total: f64 = mean_softmax(&pairs, 10).iter().sum();
            prop_assert!((total - 1.0).abs() < 1e-12);
        }

        /// What each fold adds to all of its logits does not count, nor does a fold's number.
        #[test]
        fn pooled_logits_do_not_depend_on_a_folds_offset(
            values in prop::collection::vec(-30i16..30, 40), offset in -100i16..100,
        ) {
            let folds = crate::fold::folds(10, 5, 3).unwrap();
            let plain: Vec<f32> = values.iter().map(|&z| f32::from(z)).collect();
            let shifted: Vec<f32> = values.iter().take(8).map(|&z| f32::from(z + offset)).collect();
            let mut pairs: Vec<(&Fold, &[f32])> = folds.iter().zip(plain.chunks(8)).collect();
            let before = pooled_logits(&pairs, 10);
            pairs[0].1 = &shifted;
            let after = pooled_logits(&pairs, 10);
            prop_assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }
}
