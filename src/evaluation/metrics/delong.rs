//! Whether two scores of the same images differ in AUROC: DeLong's test.

use serde::{Deserialize, Serialize};

use super::levels::check;
use crate::error::{Error, Result, Side};

/// The AUROC of one score minus that of another of the same images, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeLong {
    /// Difference of the AUROCs, as a fraction.
    pub difference: f64,
    /// Its standard error; `None` with fewer than two images on a side.
    pub standard_error: Option<f64>,
    /// Two-sided p-value of no difference; `None` where the standard error is 0 or not defined.
    pub p: Option<f64>,
}

/// DeLong's test of two scores of the same images, `[first, second]`, the second's AUROC being subtracted.
///
/// `id` and `ood` hold both scores of each side's images, in the same order. Ties count half. Source: DeLong et al. 1988, with the
/// placements by ranks of Sun and Xu 2014; takes O(n log n).
///
/// # Errors
/// Those of [`super::metrics`], and [`Error::NotPaired`] where a side's two scores are not of as many images.
pub fn delong(id: [&[f64]; 2], ood: [&[f64]; 2]) -> Result<DeLong> {
    check_pairs(id, ood)?;
    let [first, second] = [0, 1].map(|score| placements(id[score], ood[score]));
    let differences = |of: fn(&Placements) -> &[f64]| -> Vec<f64> {
        of(&first).iter().zip(of(&second)).map(|(first, second)| first - second).collect()
    };
    let [of_id, of_ood] = [differences(|placements| &placements.id), differences(|placements| &placements.ood)];
    let difference = mean(&of_id);
    let variance = variance(&of_id).zip(variance(&of_ood));
    let standard_error = variance.map(|(id, ood)| (id / of_id.len() as f64 + ood / of_ood.len() as f64).sqrt());
    let p = standard_error.filter(|error| *error > 0.0).map(|error| {
        let z = difference / error;
        libm::erfc(z.abs() / std::f64::consts::SQRT_2)
    });
    Ok(DeLong { difference, standard_error, p })
}

/// Refuses scores that are none, and scores of different images.
pub(super) fn check_pairs(id: [&[f64]; 2], ood: [&[f64]; 2]) -> Result<()> {
    for (side, [first, second]) in [(Side::Id, id), (Side::Ood, ood)] {
        check(first, side)?;
        check(second, side)?;
        if first.len() != second.len() {
            return Err(Error::NotPaired { side, counts: [first.len(), second.len()] });
        }
    }
    Ok(())
}

/// For each image the share of the other side's that it wins against, ties half.
pub(super) struct Placements {
    pub(super) id: Vec<f64>,
    pub(super) ood: Vec<f64>,
}

pub(super) fn placements(id: &[f64], ood: &[f64]) -> Placements {
    let [ids, oods] = [id.len(), ood.len()];
    let mut sorted: Vec<usize> = (0..ids + oods).collect();
    let score = |image: usize| if image < ids { id[image] } else { ood[image - ids] };
    sorted.sort_unstable_by(|&a, &b| score(a).total_cmp(&score(b)));
    let mut placements = Placements { id: vec![0.0; ids], ood: vec![0.0; oods] };
    let mut below = [0.0, 0.0];
    for tied in sorted.chunk_by(|&a, &b| score(a) == score(b)) {
        let of_id = tied.iter().filter(|image| **image < ids).count() as f64;
        let equal = [of_id, tied.len() as f64 - of_id];
        for &image in tied {
            if image < ids {
                placements.id[image] = (below[1] + equal[1] / 2.0) / oods as f64;
            } else {
                placements.ood[image - ids] = 1.0 - (below[0] + equal[0] / 2.0) / ids as f64;
            }
        }
        below = [below[0] + equal[0], below[1] + equal[1]];
    }
    placements
}

/// The mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample variance; none of a single value.
pub fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (values.len() > 1).then(|| squares / (values.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_do_not_differ() {
        let (id, ood) = ([3.0, 2.0, 5.0], [1.0, 2.0]);
        let found = delong([&id, &id], [&ood, &ood]).unwrap();
        assert_eq!(found, DeLong { difference: 0.0, standard_error: Some(0.0), p: None });
    }

    #[test]
    fn one_image_a_side_gives_no_error() {
        let found = delong([&[2.0], &[0.0]], [&[1.0], &[1.0]]).unwrap();
        assert_eq!(found, DeLong { difference: 1.0, standard_error: None, p: None });
    }

    #[test]
    fn other_images_are_refused() {
        let error = delong([&[2.0], &[0.0, 1.0]], [&[1.0], &[1.0]]).unwrap_err();
        assert!(matches!(error, Error::NotPaired { side: Side::Id, counts: [1, 2] }), "{error}");
    }
}
