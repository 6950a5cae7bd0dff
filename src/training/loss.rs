//! The margin-entropy loss of a leave-out classifier (Vyas et al. 2018, equation 1).

use burn::tensor::{
    Tensor,
    activation::{log_softmax, softmax},
};
use serde::{Deserialize, Serialize};

use crate::network::kernels::head;

/// Weight and margin of the entropy term, and how logits come into the cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarginEntropy {
    /// Weight of the entropy term.
    pub beta: f64,
    /// How far the mean entropy of left-out images should exceed that of kept images, in nats.
    pub margin: f64,
    /// Temperature of LogitNorm: the cross-entropy takes each image's logits divided by this and by their Euclidean length
    /// (Wei et al. 2022), the entropy term as they are. None as in the paper, where both take them as they are.
    #[serde(default)]
    pub logit_norm: Option<f64>,
}

impl Default for MarginEntropy {
    /// Beta 0.2, margin 0.4 and plain logits, as in section 4.1 of the paper.
    fn default() -> Self {
        MarginEntropy { beta: 0.2, margin: 0.4, logit_norm: None }
    }
}

/// `CE(kept, targets) + beta max(0, margin + mean H(kept) - mean H(left-out)) + beta mean max(0, margin + mean H(kept) - H(outlier))`,
/// without the terms for which there are no images.
///
/// `logits` `[n + m + k, c]` are those of n kept-class images, whose probabilities should be `targets` `[n, c]`, of m = `left_out`
/// left-out images, and of k outliers, images that are made, of which each has to be uncertain, however much others are.
/// Returns `[1]`. The paper has the first two terms.
pub fn margin_entropy_loss(
    logits: Tensor<2>,
    targets: Tensor<2>,
    left_out: usize,
    settings: MarginEntropy,
) -> Tensor<1> {
    let MarginEntropy { beta, margin, logit_norm } = settings;
    if head::has_kernels(&logits) {
        return head::margin_entropy(logits, targets, left_out, [beta, margin, logit_norm.unwrap_or(0.0)]);
    }
    let ([rows, _], [n, _]) = (logits.dims(), targets.dims());
    let of = |start, count| logits.clone().narrow(0, start, count);
    let kept = of(0, n);
    let scaled = match logit_norm {
        Some(temperature) => normalised(kept.clone(), temperature),
        None => kept.clone(),
    };
    let mut loss = -(log_softmax(scaled, 1) * targets).sum_dim(1).mean();
    let least = entropy(kept).mean() + margin;
    if left_out > 0 {
        loss = loss + (least.clone() - entropy(of(n, left_out)).mean()).clamp_min(0.0) * beta;
    }
    let others = n + left_out;
    if rows > others {
        loss = loss + (least - entropy(of(others, rows - others))).clamp_min(0.0).mean() * beta;
    }
    loss
}

/// `logits` `[n, c]`, each row divided by its Euclidean length and by `temperature`.
fn normalised(logits: Tensor<2>, temperature: f64) -> Tensor<2> {
    // Logits of 0 stay 0, with a gradient.
    let length = logits.clone().square().sum_dim(1).add_scalar(1e-14).sqrt();
    logits / (length * temperature)
}

/// Probabilities `[n, classes]` that are 1 for each of n labels.
pub fn one_hot(labels: &[i64], classes: usize) -> Vec<f32> {
    labels.iter().flat_map(|&label| (0..classes as i64).map(move |class| f32::from(u8::from(class == label)))).collect()
}

/// Entropy of the softmax of each of `logits` `[n, c]`, in nats. Returns `[n]`.
fn entropy(logits: Tensor<2>) -> Tensor<1> {
    let plogp = softmax(logits.clone(), 1) * log_softmax(logits, 1);
    -plogp.sum_dim(1).squeeze_dim::<1>(1)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use serde::Deserialize;

    use super::*;

    /// Made by tests/golden/loss.py with PyTorch in double precision.
    const GOLDEN: &str = include_str!("../../tests/golden/loss.json");

    #[derive(Deserialize)]
    struct Golden {
        beta: f64,
        margin: f64,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        logit_norm: Option<f64>,
        logits_in: Vec<Vec<f64>>,
        labels: Vec<i64>,
        logits_out: Vec<Vec<f64>>,
        loss: f64,
        grad_in: Vec<Vec<f64>>,
        grad_out: Vec<Vec<f64>>,
    }

    fn tensor(rows: &[Vec<f64>], device: &Device) -> Tensor<2> {
        let values: Vec<f32> = rows.iter().flatten().map(|&value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, [rows.len(), rows[0].len()]), device)
    }

    /// Probabilities `[n, c]` that are 1 for each image's class.
    fn labels(labels: &[i64], classes: usize, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(one_hot(labels, classes), [labels.len(), classes]), device)
    }

    /// Single precision on values of order 1 leaves errors of a few 1e-7.
    fn assert_close(found: Vec<f32>, expected: impl IntoIterator<Item = f64>, what: &str) {
        let expected: Vec<f64> = expected.into_iter().collect();
        assert_eq!(found.len(), expected.len(), "{what}");
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((f64::from(found) - expected).abs() < 2e-6, "{what}: {found} {expected}");
        }
    }

    #[test]
    fn value_and_gradients_are_those_of_pytorch() {
        let golden: Golden = serde_json::from_str(GOLDEN).unwrap();
        let paper = MarginEntropy { beta: golden.beta, margin: golden.margin, logit_norm: None };
        assert_eq!(paper, MarginEntropy::default());
        let device = Device::flex().autodiff();
        for case in golden.cases {
            let kept = tensor(&case.logits_in, &device).require_grad();
            let left_out = tensor(&case.logits_out, &device).require_grad();
            let [_, classes] = kept.dims();
            let targets = labels(&case.labels, classes, &device);
            let settings = MarginEntropy { logit_norm: case.logit_norm, ..paper };
            let logits = Tensor::cat(vec![kept.clone(), left_out.clone()], 0);
            let loss = margin_entropy_loss(logits, targets, case.logits_out.len(), settings);
            assert_close(loss.to_data().try_to_vec().unwrap(), [case.loss], &case.name);
            let mut gradients = loss.backward();
            for (input, expected) in [(kept, case.grad_in), (left_out, case.grad_out)] {
                let gradient = input.grad_remove(&mut gradients).unwrap();
                assert_close(gradient.to_data().try_to_vec().unwrap(), expected.concat(), &case.name);
            }
        }
    }

    /// Two classes, even logits: cross-entropy and both entropies are ln 2, so the margin remains.
    #[test]
    fn uniform_outputs_cost_the_margin() {
        let device = Device::flex();
        let loss = margin_entropy_loss(
            Tensor::zeros([3 + 5, 2], &device),
            labels(&[0, 1, 1], 2, &device),
            5,
            MarginEntropy { beta: 0.5, margin: 0.3, logit_norm: None },
        );
        assert_close(loss.to_data().try_to_vec().unwrap(), [std::f64::consts::LN_2 + 0.15], "by hand");
    }

    /// Of two outliers one is certain; the other, uncertain enough, does not make up for it, as it would among left-out images.
    #[test]
    fn each_outlier_costs_what_it_lacks() {
        let device = Device::flex();
        let settings = MarginEntropy { beta: 0.5, margin: -0.1, logit_norm: None };
        let loss = |left_out| {
            let logits = Tensor::from_floats([[0.0, 0.0], [0.0, 0.0], [99.0, 0.0], [0.0, 0.0]], &device);
            let loss = margin_entropy_loss(logits, labels(&[0, 1], 2, &device), left_out, settings);
            loss.into_data().try_to_vec::<f32>().unwrap()
        };
        let ln_2 = std::f64::consts::LN_2;
        assert_close(loss(0), [ln_2 + 0.5 * (ln_2 - 0.1) / 2.0], "outliers");
        assert_close(loss(2), [ln_2 + 0.5 * (ln_2 / 2.0 - 0.1)], "left-out images");
    }

    #[test]
    fn without_left_out_images_the_cross_entropy_remains() {
        let device = Device::flex();
        let loss = margin_entropy_loss(
            Tensor::from_data([[6.0, 8.0]], &device),
            labels(&[0], 2, &device),
            0,
            MarginEntropy { logit_norm: Some(0.1), ..MarginEntropy::default() },
        );
        // Logits of length 10 become 6 and 8, whose second is the more probable by a factor of e^2.
        assert_close(loss.to_data().try_to_vec().unwrap(), [2f64.exp().ln_1p()], "by hand");
    }

    /// Each class counts by its probability.
    #[test]
    fn probabilities_weigh_the_classes() {
        let device = Device::flex();
        let logits = Tensor::from_floats([[2.0, 0.0], [-1.0, 0.5]], &device);
        let loss = |targets: [[f32; 2]; 2]| {
            let targets = Tensor::from_floats(targets, &device);
            let loss = margin_entropy_loss(logits.clone(), targets, 0, MarginEntropy::default());
            loss.into_data().try_to_vec::<f32>().unwrap()[0]
        };
        let [mixed, first, second] = [[0.25, 0.75], [1.0, 0.0], [0.0, 1.0]].map(|row| loss([row, row]));
        assert!((mixed - (0.25 * first + 0.75 * second)).abs() < 1e-6, "{mixed} {first} {second}");
    }
}
