//! Class splits: which classes each fold leaves out, and which logit stands for which class.
//!
//! In: a number of classes, a number of folds and a seed. Out: one [`Fold`] per classifier of the
//! ensemble. The order comes from NumPy's legacy generator, because the paper's reference
//! implementation split its classes with it: the same seed gives the same folds, and the logits of
//! its published weights mean the same classes.

use rand_mt::Mt;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Seed of the class permutation; the reference's `numpy.random.seed(3)`.
pub const DEFAULT_SEED: u32 = 3;

/// Number of folds; Vyas et al. 2018 (its ablation also tries 3, 10 and 20).
pub const DEFAULT_FOLDS: usize = 5;

/// Most folds or ordinary networks of an ensemble: more would only exhaust the memory.
pub const MAX_FOLDS: usize = 1000;

/// Fewest classes a fold may keep: with one class, softmax is constant.
const MIN_KEPT: usize = 2;

/// One leave-out split of the classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// 1-based, as in the paper.
    pub number: usize,
    /// Classes that play the part of out-of-distribution data while this fold trains.
    pub left_out: Vec<usize>,
    /// Class of each logit: `kept[logit] = class`, in permutation order, not sorted.
    pub kept: Vec<usize>,
}

impl Fold {
    /// Logit that stands for `class`; `None` for a left-out or unknown class.
    pub fn logit(&self, class: usize) -> Option<usize> {
        self.kept.iter().position(|&kept| kept == class)
    }

    /// Indices of the `labels` of kept classes, and of the others.
    pub fn partition(&self, labels: &[u16]) -> (Vec<usize>, Vec<usize>) {
        (0..labels.len()).partition(|&index| self.logit(usize::from(labels[index])).is_some())
    }
}

/// Splits `classes` classes into `k` folds that each leave a different part of them out.
///
/// With `p = permutation(seed, classes)`, fold `f = 1..=k` leaves out
/// `p[(f-1)*classes/k..f*classes/k]` (integer division) and keeps the rest of `p` in order. The
/// rule also holds where `k` does not divide `classes`: every class is left out exactly once, and
/// the folds' sizes differ by at most one. Source: Vyas et al. 2018 and the reference's class
/// split.
///
/// # Errors
/// [`Error::FoldCount`] unless `2 <= k <= classes` and `k <= ` [`MAX_FOLDS`]; [`Error::FoldTooSmall`] where a fold would keep
/// fewer than two classes.
pub fn folds(classes: usize, k: usize, seed: u32) -> Result<Vec<Fold>> {
    if k < 2 || k > classes.min(MAX_FOLDS) {
        return Err(Error::FoldCount { classes, folds: k });
    }
    let order = permutation(seed, classes);
    (1..=k)
        .map(|number| {
            let (start, end) = ((number - 1) * classes / k, number * classes / k);
            let kept = [&order[..start], &order[end..]].concat();
            if kept.len() < MIN_KEPT {
                return Err(Error::FoldTooSmall { fold: number, folds: k, kept: kept.len(), classes });
            }
            Ok(Fold { number, left_out: order[start..end].to_vec(), kept })
        })
        .collect()
}

/// `k` classifiers that keep all classes, in label order: an ordinary deep ensemble (Lakshminarayanan et al. 2017) to
/// compare with.
pub fn ordinary(classes: usize, k: usize) -> Vec<Fold> {
    (1..=k).map(|number| Fold { number, left_out: Vec::new(), kept: (0..classes).collect() }).collect()
}

/// The permutation of `0..n` that NumPy's legacy generator gives for a seed.
///
/// Equals `numpy.random.seed(seed); numpy.random.permutation(n)`: MT19937, then an exchange of
/// element `i` with a uniform draw from `0..=i` for `i` from `n - 1` down to 1.
///
/// # Panics
/// Where `n` exceeds 2^32, for which NumPy draws 64-bit numbers.
pub fn permutation(seed: u32, n: usize) -> Vec<usize> {
    let mut generator = Mt::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let last = u32::try_from(i).expect("a permutation has at most 2^32 elements");
        order.swap(i, draw_up_to(&mut generator, last) as usize);
    }
    order
}

/// A uniform number in `0..=max`, as NumPy's legacy generator draws it.
///
/// Masks 32-bit draws with the least `2^b - 1 >= max` and rejects those above `max`. Draws nothing
/// for `max` 0, which has only one outcome.
pub(crate) fn draw_up_to(generator: &mut Mt, max: u32) -> u32 {
    if max == 0 {
        return 0;
    }
    let mask = u32::MAX >> max.leading_zeros();
    loop {
        let candidate = generator.next_u32() & mask;
        if candidate <= max {
            return candidate;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    /// SHA-256 of the first 1000 elements as a comma-separated decimal list.
    fn sha256_of_first_1000(permutation: &[usize]) -> String {
        let list: Vec<String> = permutation[..1000].iter().map(usize::to_string).collect();
        let digest = Sha256::digest(list.join(","));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn ten_classes_are_ordered_as_in_numpy() {
        assert_eq!(permutation(DEFAULT_SEED, 10), [5, 4, 1, 2, 9, 6, 7, 0, 3, 8]);
    }

    #[test]
    fn a_hundred_classes_are_ordered_as_in_numpy() {
        let order = permutation(DEFAULT_SEED, 100);
        let first = [93, 67, 6, 64, 96, 83, 98, 42, 25, 15, 77, 9, 71, 97, 34, 75, 82, 23, 59, 45];
        assert_eq!(order[..20], first);
        assert_eq!(order[91..], [41, 74, 19, 21, 0, 72, 56, 3, 24]);
    }

    #[test]
    fn ten_thousand_test_images_are_ordered_as_in_numpy() {
        let order = permutation(DEFAULT_SEED, 10_000);
        assert_eq!(order[..5], [5876, 6555, 1448, 3351, 231]);
        assert_eq!(sha256_of_first_1000(&order), "6fe9eaf4be6d70ef4f48912b50a241747e57603de080c846e75654016a4e32fd");
    }

    #[test]
    fn the_images_of_isun_are_ordered_as_in_numpy() {
        let order = permutation(DEFAULT_SEED, 8925);
        assert_eq!(order[..5], [8446, 3222, 1722, 1373, 2777]);
        assert_eq!(sha256_of_first_1000(&order), "850d21a54c4aaea926744e6214cf1f71973bb345cd1988d0beca75a13a1b1512");
    }

    #[test]
    fn permutations_of_nothing_and_of_one_are_trivial() {
        assert_eq!(permutation(DEFAULT_SEED, 0), [0; 0]);
        assert_eq!(permutation(DEFAULT_SEED, 1), [0]);
    }

    #[test]
    fn cifar10_folds_are_those_of_the_paper() {
        let folds = folds(10, DEFAULT_FOLDS, DEFAULT_SEED).unwrap();
        let left_out: Vec<&[usize]> = folds.iter().map(|fold| &fold.left_out[..]).collect();
        assert_eq!(left_out, [[5, 4], [1, 2], [9, 6], [7, 0], [3, 8]]);
        assert_eq!(folds[1].number, 2);
        assert_eq!(folds[1].kept, [5, 4, 9, 6, 7, 0, 3, 8]);
    }

    #[test]
    fn cifar100_folds_leave_out_twenty_classes_in_permutation_order() {
        let order = permutation(DEFAULT_SEED, 100);
        let folds = folds(100, DEFAULT_FOLDS, DEFAULT_SEED).unwrap();
        assert_eq!(folds[0].left_out, order[..20]);
        assert_eq!(folds[0].kept, order[20..]);
        assert_eq!(folds[4].left_out, order[80..]);
        assert_eq!(folds[4].kept, order[..80]);
    }

    #[test]
    fn a_logit_is_the_position_among_the_kept_classes() {
        let fold = Fold { number: 1, left_out: vec![0, 2], kept: vec![4, 1, 3] };
        assert_eq!(fold.logit(4), Some(0));
        assert_eq!(fold.logit(3), Some(2));
        assert_eq!(fold.logit(2), None);
        assert_eq!(fold.logit(9), None);
    }

    #[test]
    fn folds_of_uneven_size_differ_by_one_class() {
        let sizes = |classes, k| -> Vec<usize> {
            let folds = folds(classes, k, DEFAULT_SEED).unwrap();
            folds.iter().map(|fold| fold.left_out.len()).collect()
        };
        assert_eq!(sizes(10, 3), [3, 3, 4]);
        assert_eq!(sizes(7, 5), [1, 1, 2, 1, 2]);
    }

    #[test]
    fn fewer_than_two_folds_are_rejected() {
        for k in [0, 1] {
            let error = folds(10, k, DEFAULT_SEED).unwrap_err();
            assert!(matches!(error, Error::FoldCount { classes: 10, folds } if folds == k));
        }
    }

    #[test]
    fn more_folds_than_classes_are_rejected() {
        let error = folds(10, 11, DEFAULT_SEED).unwrap_err();
        assert_eq!(
            error.to_string(),
            "11 folds of 10 classes: expected between 2 folds and one per class, at most 1000"
        );
    }

    #[test]
    fn a_fold_that_keeps_one_class_is_rejected() {
        let error = folds(3, 2, DEFAULT_SEED).unwrap_err();
        assert!(matches!(error, Error::FoldTooSmall { fold: 2, kept: 1, .. }), "{error}");
        assert!(folds(3, 3, DEFAULT_SEED).is_ok());
    }

    #[test]
    fn a_fold_survives_json() {
        let fold = Fold { number: 1, left_out: vec![0], kept: vec![2, 1] };
        let json = serde_json::to_string(&fold).unwrap();
        assert_eq!(json, r#"{"number":1,"left_out":[0],"kept":[2,1]}"#);
        assert_eq!(serde_json::from_str::<Fold>(&json).unwrap(), fold);
    }

    proptest! {
        #[test]
        fn a_permutation_holds_each_number_once(seed: u32, n in 0usize..300) {
            let mut order = permutation(seed, n);
            order.sort_unstable();
            prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
        }

        #[test]
        fn every_class_is_left_out_once_and_kept_otherwise(
            seed: u32, classes in 4usize..150, part in 0.0..1.0,
        ) {
            let k = 2 + (part * (classes - 2) as f64) as usize;
            let folds = folds(classes, k, seed).unwrap();
            prop_assert_eq!(folds.len(), k);
            let left_out: Vec<usize> =
                folds.iter().flat_map(|fold| fold.left_out.iter().copied()).collect();
            prop_assert_eq!(left_out, permutation(seed, classes));
            for fold in &folds {
                prop_assert!((classes / k..=classes.div_ceil(k)).contains(&fold.left_out.len()));
                prop_assert_eq!(fold.kept.len() + fold.left_out.len(), classes);
                for class in 0..classes {
                    let logit = fold.logit(class);
                    prop_assert_eq!(logit.is_none(), fold.left_out.contains(&class));
                    prop_assert!(logit.is_none_or(|logit| fold.kept[logit] == class));
                }
            }
        }
    }
}
