//! Tests of the metrics: by hand, against scikit-learn and the reference's definitions, and
//! properties.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::error::{Error, Side};

#[derive(Deserialize)]
struct Case {
    name: String,
    id: Vec<f64>,
    ood: Vec<f64>,
    standard: Metrics,
    reference: Metrics,
    openood: Metrics,
    threshold_at_95_tpr: f64,
    bootstrap: Option<Bootstrap>,
}

#[derive(Deserialize)]
struct Bootstrap {
    definition: Definition,
    intervals: Intervals,
}

/// Two scores of the same images.
#[derive(Deserialize)]
struct Pairs {
    name: String,
    id: [Vec<f64>; 2],
    ood: [Vec<f64>; 2],
    delong: DeLong,
    bootstrap: PairedBootstrap,
}

#[derive(Deserialize)]
struct PairedBootstrap {
    definition: Definition,
    differences: Differences,
}

fn golden() -> Vec<Case> {
    serde_json::from_str(include_str!("../../../tests/golden/metrics.json")).unwrap()
}

/// Sums of up to 4000 terms in another order differ by far less than the 1e-12 asked for.
fn assert_same(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-12, "{what}: {found} is not {expected}");
}

fn assert_same_metrics(found: Metrics, expected: Metrics, what: &str) {
    match (found.fpr_at_95_tpr, expected.fpr_at_95_tpr) {
        (Some(found), Some(expected)) => assert_same(found, expected, &format!("{what}, FPR")),
        (found, expected) => assert_eq!(found, expected, "{what}, FPR"),
    }
    assert_same(found.detection_error, expected.detection_error, &format!("{what}, detection error"));
    assert_same(found.auroc, expected.auroc, &format!("{what}, AUROC"));
    assert_same(found.aupr_in, expected.aupr_in, &format!("{what}, AUPR-in"));
    assert_same(found.aupr_out, expected.aupr_out, &format!("{what}, AUPR-out"));
}

#[test]
fn standard_metrics_equal_scikit_learn() {
    for case in golden() {
        let found = metrics(&case.id, &case.ood, Definition::Standard).unwrap();
        assert_same_metrics(found, case.standard, &case.name);
    }
}

#[test]
fn reference_metrics_equal_the_reference_definitions() {
    for case in golden() {
        let found = metrics(&case.id, &case.ood, Definition::Reference).unwrap();
        assert_same_metrics(found, case.reference, &case.name);
    }
}

#[test]
fn openood_metrics_equal_openoods_formulas() {
    for case in golden() {
        let found = metrics(&case.id, &case.ood, Definition::OpenOod).unwrap();
        assert_same_metrics(found, case.openood, &case.name);
    }
}

#[test]
fn thresholds_equal_their_golden_values() {
    for case in golden() {
        assert_eq!(threshold_at_tpr(&case.id, TPR), case.threshold_at_95_tpr, "{}", case.name);
    }
}

#[test]
fn differences_equal_their_definitions() {
    let cases: Vec<Pairs> = serde_json::from_str(include_str!("../../../tests/golden/paired.json")).unwrap();
    assert_eq!(cases.len(), 3);
    for Pairs { name, id, ood, delong: expected, bootstrap } in cases {
        let [id, ood] = [&id, &ood].map(|side| side.each_ref().map(Vec::as_slice));
        let found = delong(id, ood).unwrap();
        assert_same(found.difference, expected.difference, &name);
        assert_same(found.standard_error.unwrap(), expected.standard_error.unwrap(), &name);
        assert_same(found.p.unwrap(), expected.p.unwrap(), &name);
        let PairedBootstrap { definition, differences: expected } = bootstrap;
        let Differences { resamples, seed, level, .. } = expected;
        let found = paired_bootstrap(id, ood, definition, resamples, seed, level).unwrap();
        let numbers = |found: &Differences| {
            let of = |found: Difference| [found.value, found.interval.low, found.interval.high];
            let Differences { detection_error, auroc, aupr_in, aupr_out, .. } = *found;
            let fpr = found.fpr_at_95_tpr.map_or([f64::MAX; 3], of);
            [fpr, of(detection_error), of(auroc), of(aupr_in), of(aupr_out)].concat()
        };
        for (found, expected) in numbers(&found).into_iter().zip(numbers(&expected)) {
            assert_same(found, expected, &name);
        }
    }
}

#[test]
fn bootstrap_intervals_equal_numpy_with_the_same_draws() {
    let mut compared = 0;
    for case in golden() {
        let Some(Bootstrap { definition, intervals: expected }) = case.bootstrap else {
            continue;
        };
        let Intervals { resamples, seed, level, .. } = expected;
        let found = bootstrap(&case.id, &case.ood, definition, resamples, seed, level).unwrap();
        let end = |intervals: &Intervals, of: fn(Interval) -> f64| Metrics {
            fpr_at_95_tpr: intervals.fpr_at_95_tpr.map(of),
            detection_error: of(intervals.detection_error),
            auroc: of(intervals.auroc),
            aupr_in: of(intervals.aupr_in),
            aupr_out: of(intervals.aupr_out),
        };
        for of in [|interval: Interval| interval.low, |interval: Interval| interval.high] {
            assert_same_metrics(end(&found, of), end(&expected, of), &case.name);
        }
        compared += 1;
    }
    assert_eq!(compared, 3);
}

fn standard(id: &[f64], ood: &[f64]) -> Metrics {
    metrics(id, ood, Definition::Standard).unwrap()
}

#[test]
fn standard_metrics_by_hand() {
    assert_eq!(standard(&[2.0, 3.0], &[1.0]).auroc, 1.0);
    assert_eq!(standard(&[1.0], &[2.0, 3.0]).auroc, 0.0);
    assert_eq!(standard(&[1.0, 2.0], &[1.0]).auroc, 0.75);
    // Thresholds 3, 2, 1 accept (1, 0), (1, 1) and (2, 1) of two and one images.
    let found = standard(&[3.0, 1.0], &[2.0]);
    assert_eq!(found.aupr_in, 0.5 * 1.0 + 0.5 * (2.0 / 3.0));
    assert_eq!(found.aupr_out, 0.5);
    assert_eq!(found.fpr_at_95_tpr, Some(1.0));
    assert_eq!(found.detection_error, 0.25);
}

#[test]
fn reference_metrics_by_hand() {
    // From threshold 1 to 3, shares of both sets: at or above 1 and 1, .5 and .5, .5 and 0; below 0
    // and 0, .5 and .5, .5 and 1.
    let found = metrics(&[3.0, 1.0], &[2.0, 1.0], Definition::Reference).unwrap();
    let expected = Metrics {
        fpr_at_95_tpr: None,
        detection_error: 0.25,
        auroc: (0.5 + 1.0) / 2.0,
        aupr_in: 0.5 * 0.5 + 0.5 * 1.0,
        aupr_out: 0.5 * 0.5 + 0.5 * 0.5,
    };
    assert_eq!(found, expected);
}

#[test]
fn openood_metrics_by_hand() {
    let found = metrics(&[3.0, 1.0], &[2.0, 1.0], Definition::OpenOod).unwrap();
    // Rejected from the lowest score: (in, out) = (1/2, 1/2), (1/2, 1), (1, 1).
    assert_eq!(found.fpr_at_95_tpr, Some(0.5));
    assert_eq!(found.auroc, 0.625);
    // Precision 1 at recall 1/2, then 1/2 at recall 1/2 and at 1.
    assert_eq!(found.aupr_in, 0.5 * 1.0 + 0.5 * 0.5);
    // Precision 1/2 at recall 1/2, 2/3 at recall 1.
    assert_eq!(found.aupr_out, 0.5 * 0.75 + 0.5 * (0.5 + 2.0 / 3.0) / 2.0);
}

#[test]
fn every_definition_goes_by_its_name_in_json() {
    for definition in Definition::ALL {
        assert_eq!(serde_json::to_value(definition).unwrap(), definition.name());
    }
}

#[test]
fn an_ood_score_at_the_threshold_is_a_false_positive_by_the_standard_definition_only() {
    let id: Vec<f64> = (1..=20).map(f64::from).collect();
    let ood = [0.0, 2.0, 5.0, 2.0];
    let fpr = |definition| metrics(&id, &ood, definition).unwrap().fpr_at_95_tpr;
    assert_eq!(fpr(Definition::Standard), Some(0.75));
    assert_eq!(fpr(Definition::Reference), Some(0.25));
}

#[test]
fn definitions_and_metrics_survive_json() {
    assert_eq!(serde_json::to_string(&Definition::Reference).unwrap(), r#""reference""#);
    let found = metrics(&[3.0, 1.0], &[2.0, 1.0], Definition::Reference).unwrap();
    let json = serde_json::to_string(&found).unwrap();
    assert!(json.starts_with(r#"{"fpr_at_95_tpr":null,"detection_error":0.25,"#), "{json}");
    assert_eq!(serde_json::from_str::<Metrics>(&json).unwrap(), found);
}

#[test]
fn equal_scores_everywhere_are_chance() {
    let found = metrics(&[1.0, 1.0, 1.0], &[1.0], Definition::Standard).unwrap();
    let expected =
        Metrics { fpr_at_95_tpr: Some(1.0), detection_error: 0.5, auroc: 0.5, aupr_in: 0.75, aupr_out: 0.25 };
    assert_eq!(found, expected);
}

#[test]
fn negative_zero_equals_zero() {
    assert_eq!(standard(&[0.0], &[-0.0]).auroc, 0.5);
}

#[test]
fn the_threshold_at_95_tpr_accepts_19_of_20() {
    let id: Vec<f64> = (1..=20).map(f64::from).collect();
    assert_eq!(threshold_at_tpr(&id, 0.95), 2.0);
    assert_eq!(threshold_at_tpr(&id, 0.951), 1.0);
    assert_eq!(threshold_at_tpr(&id, 1.0), 1.0);
    assert_eq!(threshold_at_tpr(&[5.0, 5.0, 7.0], 0.5), 5.0);
}

#[test]
#[should_panic(expected = "true positive rate: expected in (0, 1], found 0")]
fn a_threshold_at_no_true_positives_is_a_bug() {
    threshold_at_tpr(&[1.0], 0.0);
}

#[test]
fn an_empty_set_is_rejected() {
    let error = metrics(&[], &[1.0], Definition::Standard).unwrap_err();
    assert_eq!(error.to_string(), "no in-distribution scores: expected at least 1, found 0");
    let error = metrics(&[1.0], &[], Definition::Standard).unwrap_err();
    assert!(matches!(error, Error::NoScores { side: Side::Ood }));
}

#[test]
fn a_score_that_is_not_finite_is_rejected() {
    let error = metrics(&[1.0, f64::NAN], &[1.0], Definition::Standard).unwrap_err();
    assert_eq!(error.to_string(), "in-distribution score 1 (counted from 0): expected a finite number, found NaN");
    let error = metrics(&[1.0], &[f64::NEG_INFINITY], Definition::Reference).unwrap_err();
    assert!(matches!(error, Error::ScoreNotFinite { side: Side::Ood, index: 0, .. }));
}

/// Few distinct scores, so that ties are the rule.
fn scores() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((0u8..40).prop_map(f64::from), 1..80)
}

proptest! {
    #[test]
    fn auroc_is_the_share_of_pairs_won(id in scores(), ood in scores()) {
        let win = |a: f64, b: f64| if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
        let wins: f64 = id.iter().flat_map(|&a| ood.iter().map(move |&b| win(a, b))).sum();
        prop_assert!((standard(&id, &ood).auroc - wins / (id.len() * ood.len()) as f64).abs() < 1e-12);
    }

    #[test]
    fn metrics_depend_on_the_order_of_scores_only(id in scores(), ood in scores()) {
        let monotone = |scores: &[f64]| -> Vec<f64> {
            scores.iter().rev().map(|score| (score / 9.0).exp() - 7.0).collect()
        };
        for definition in Definition::ALL {
            let plain = metrics(&id, &ood, definition).unwrap();
            prop_assert_eq!(plain, metrics(&monotone(&id), &monotone(&ood), definition).unwrap());
        }
    }

    #[test]
    fn exchanging_the_sets_mirrors_the_standard_metrics(id in scores(), ood in scores()) {
        let negated = |scores: &[f64]| -> Vec<f64> { scores.iter().map(|score| -score).collect() };
        let plain = metrics(&id, &ood, Definition::Standard).unwrap();
        let mirrored = metrics(&negated(&ood), &negated(&id), Definition::Standard).unwrap();
        prop_assert!((plain.auroc - mirrored.auroc).abs() < 1e-12);
        prop_assert!((plain.aupr_in - mirrored.aupr_out).abs() < 1e-12);
        prop_assert!((plain.detection_error - mirrored.detection_error).abs() < 1e-12);
    }

    #[test]
    fn metrics_are_fractions(id in scores(), ood in scores()) {
        for definition in Definition::ALL {
            let found = metrics(&id, &ood, definition).unwrap();
            let fpr = found.fpr_at_95_tpr.unwrap_or(0.0);
            for value in [fpr, found.detection_error, found.auroc, found.aupr_in, found.aupr_out] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{found:?}");
            }
        }
    }

    #[test]
    fn the_threshold_is_the_largest_that_accepts_enough(id in scores(), tpr in 0.01..1.0) {
        let threshold = threshold_at_tpr(&id, tpr);
        let share = |accepted: &dyn Fn(f64) -> bool| {
            id.iter().filter(|&&score| accepted(score)).count() as f64 / id.len() as f64
        };
        prop_assert!(share(&|score| score >= threshold) >= tpr);
        prop_assert!(share(&|score| score > threshold) < tpr);
    }
}
