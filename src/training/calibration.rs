//! Factors for the logits of networks whose cross-entropy leaves their length open, as LogitNorm does. Once they are trained, one
//! makes their softmax as sure of itself as held-out images say it may be (temperature scaling, Guo et al. 2017); before they are
//! trained on, another takes them back.

use crate::detection::scores::{entropy, softmax};

/// Least and largest factor. Images that say nothing should not take the logits out of a half-precision number's range.
const RANGE: [f64; 2] = [1.0 / 64.0, 64.0];

/// The factor that gives the softmax of `factor * logits` the least cross-entropy to `labels`.
///
/// `logits` is `[n, classes]`, `labels` `[n]`, at least one. A label counts as certain to `(n + 1) / (n + 2)` (Platt 1999), the
/// rest is spread over the other classes: else a few images that are all right would ask for an infinite factor.
pub(crate) fn logit_scale(logits: &[f32], labels: &[usize], classes: usize) -> f64 {
    let n = labels.len() as f64;
    let right = (n + 1.0) / (n + 2.0);
    let wrong = (1.0 - right) / (classes as f64 - 1.0).max(1.0);
    // Derivative of the cross-entropy, which rises with the factor.
    let slope = |factor: f64| -> f64 {
        let of = |(logits, &label): (&[f32], &usize)| -> f64 {
            let p = softmax(logits, 1.0 / factor);
            let target = |class| if class == label { right } else { wrong };
            p.iter().zip(logits).enumerate().map(|(class, (p, &z))| (p - target(class)) * f64::from(z)).sum()
        };
        logits.chunks_exact(classes).zip(labels).map(of).sum()
    };
    let [mut low, mut high] = RANGE;
    // Halved in the logarithm to the last bits of a single-precision number.
    for _ in 0..40 {
        let middle = (low * high).sqrt();
        if slope(middle) > 0.0 { high = middle } else { low = middle }
    }
    (low * high).sqrt()
}

/// The least factor at which the mean entropy of the softmax of `factor * left_out` exceeds that of `factor * kept` by
/// `margin` nats, to 1%; where none does, the one that brings them furthest apart. Both are `[n, classes]`.
///
/// While a network trains, the entropy term of the loss gives the logits of such a cross-entropy that length.
pub(crate) fn margin_scale(kept: &[f32], left_out: &[f32], classes: usize, margin: f64) -> f64 {
    let mean_entropy = |logits: &[f32], factor: f64| -> f64 {
        let sum: f64 = logits.chunks_exact(classes).map(|logits| entropy(&softmax(logits, 1.0 / factor))).sum();
        sum / (logits.len() / classes) as f64
    };
    let [mut factor, last] = RANGE;
    let (mut best, mut widest) = (factor, f64::NEG_INFINITY);
    while factor <= last && widest < margin {
        let gap = mean_entropy(left_out, factor) - mean_entropy(kept, factor);
        if gap > widest {
            (best, widest) = (factor, gap);
        }
        factor *= 1.01;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three of four right, each to 5/6: the larger of two logits, 2 apart, is right in 2/3 of the cases.
    #[test]
    fn factor_is_the_one_by_hand() {
        let (logits, labels) = ([1.0, -1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0], [0, 0, 1, 1]);
        let expected = 2f64.ln() / 2.0;
        assert!((logit_scale(&logits, &labels, 2) - expected).abs() < 1e-6);
        let larger = logits.map(|logit| 5.0 * logit);
        assert!((logit_scale(&larger, &labels, 2) - expected / 5.0).abs() < 1e-6);
    }

    /// Two logits, 2 apart, have the entropy 0.5 at p = 0.110028; two equal ones ln 2.
    #[test]
    fn entropies_are_a_margin_apart() {
        let (kept, left_out) = ([1.0, -1.0, -1.0, 1.0], [0.0, 0.0]);
        let p = 0.110_027_86_f64;
        let expected = ((1.0 - p) / p).ln() / 2.0;
        let found = margin_scale(&kept, &left_out, 2, 2f64.ln() - 0.5 * 2f64.ln());
        assert!((found / expected - 1.0).abs() < 0.011, "{found} {expected}");
        assert!(margin_scale(&kept, &left_out, 2, 0.7) > 10.0, "more than ln 2");
        assert_eq!(margin_scale(&left_out, &kept, 2, 0.1), RANGE[0], "the wrong way round");
    }

    #[test]
    fn images_that_are_all_right_or_all_wrong_ask_for_a_factor_within_bounds() {
        let logits = [1.0, -1.0, -1.0, 1.0];
        assert!((logit_scale(&logits, &[0, 1], 2) - 3f64.ln() / 2.0).abs() < 1e-6);
        assert!((logit_scale(&logits, &[1, 0], 2) - RANGE[0]).abs() < 1e-6);
        assert!((logit_scale(&[0.0; 4], &[0, 1], 2) - RANGE[1]).abs() < 1e-4);
    }
}
