"""Golden values for src/evaluation/metrics: pairs of score sets with their metrics by all definitions.

Writes metrics.json beside itself. The standard values come from scikit-learn; the reference's are
computed here from its definitions, as stated in src/evaluation/metrics, by comparing every threshold with every
score; OpenOOD's are scikit-learn's curves and areas with the out-of-distribution images as positives. Bootstrap intervals use the draws of NumPy's legacy generator. Needs numpy and scikit-learn.
"""

import json
from pathlib import Path

import numpy
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

NAMES = ["fpr_at_95_tpr", "detection_error", "auroc", "aupr_in", "aupr_out"]


def standard(id_, ood):
    scores = numpy.concatenate([id_, ood])
    is_id = numpy.concatenate([numpy.ones(len(id_)), numpy.zeros(len(ood))])
    fpr, tpr, _ = roc_curve(is_id, scores, drop_intermediate=False)
    values = [
        fpr[tpr >= 0.95].min(),
        ((1 - tpr + fpr) / 2).min(),
        roc_auc_score(is_id, scores),
        average_precision_score(is_id, scores),
        average_precision_score(1 - is_id, -scores),
    ]
    return dict(zip(NAMES, map(float, values)))


def openood(id_, ood):
    """The detection error, which OpenOOD has not, is the standard one."""
    scores = numpy.concatenate([id_, ood])
    is_ood = numpy.concatenate([numpy.zeros(len(id_)), numpy.ones(len(ood))])
    fpr, tpr, _ = roc_curve(is_ood, -scores)

    def aupr(positive, scores):
        precision, recall, _ = precision_recall_curve(positive, scores)
        return auc(recall, precision)

    values = [
        fpr[tpr >= 0.95][0],
        standard(id_, ood)["detection_error"],
        auc(fpr, tpr),
        aupr(1 - is_ood, scores),
        aupr(is_ood, -scores),
    ]
    return dict(zip(NAMES, map(float, values)))


def reference(id_, ood):
    thresholds = numpy.unique(numpy.concatenate([id_, ood]))[:, None]

    def share(relation):
        return relation.mean(1)

    id_at_or_above, ood_above = share(id_ >= thresholds), share(ood > thresholds)
    window = (id_at_or_above >= 0.9495) & (id_at_or_above <= 0.9505)
    fpr_steps = -numpy.diff(ood_above, prepend=1.0)
    values = [
        ood_above[window].mean() if window.any() else None,
        min(1.0, ((share(id_ < thresholds) + ood_above) / 2).min()),
        (fpr_steps * id_at_or_above).sum() + ood_above[-1] * id_at_or_above[-1],
        area(id_at_or_above, share(ood >= thresholds)),
        area(share(ood < thresholds)[::-1], share(id_ < thresholds)[::-1]),
    ]
    return {name: value if value is None else float(value) for name, value in zip(NAMES, values)}


def area(recall, others):
    """Steps down in recall from 1, each times the precision after it; the rest at the last precision.

    Thresholds without any precision are passed over. Where that is all of them the reference fails;
    a threshold beyond all scores then stands in, with recall and precision 1 and 1/2.
    """
    some = recall + others > 0
    recall, others = recall[some], others[some]
    if len(recall) == 0:
        return 0.5
    precision = recall / (recall + others)
    return (-numpy.diff(recall, prepend=1.0) * precision).sum() + recall[-1] * precision[-1]


def threshold_at_95_tpr(id_):
    return float(max(t for t in id_ if (id_ >= t).mean() >= 0.95))


def bootstrap(id_, ood, definition, resamples, seed, level):
    """Sets are drawn from by descending score, the in-distribution set first."""
    id_, ood = numpy.sort(id_)[::-1], numpy.sort(ood)[::-1]
    generator = numpy.random.RandomState(seed)
    values = []
    for _ in range(resamples):
        id_drawn = id_[generator.randint(0, len(id_), len(id_), dtype=numpy.uint32)]
        ood_drawn = ood[generator.randint(0, len(ood), len(ood), dtype=numpy.uint32)]
        values.append(list(definition(id_drawn, ood_drawn).values()))
    intervals = {"resamples": resamples, "seed": seed, "level": level}
    for name, column in zip(NAMES, zip(*values)):
        if None in column:
            intervals[name] = None
        else:
            low, high = numpy.percentile(column, [50 - 50 * level, 50 + 50 * level])
            intervals[name] = {"low": float(low), "high": float(high)}
    return {"definition": definition.__name__, "intervals": intervals}


def cases():
    generator = numpy.random.default_rng(0)

    def normal(mean, count, digits):
        return numpy.round(generator.normal(mean, 1, count), digits)

    yield "one image each", [1.0], [0.0]
    yield "one image each, wrong way round", [0.0], [1.0]
    yield "one image each, equal", [0.5], [0.5]
    yield "by hand, ties", [0.9, 0.8, 0.8, 0.3], [0.8, 0.2]
    yield "all equal, unequal sizes", [2.0] * 4, [2.0] * 7
    yield "perfectly separated", list(range(20, 40)), list(range(15))
    yield "perfectly wrong", list(range(10)), list(range(10, 30))
    yield "touching at one score", [1.0, 1.0, 2.0, 3.0], [1.0, 1.0, 0.0]
    yield "tied pairs on a straight line", list(range(40)), list(range(40))
    yield "few distinct scores", normal(1, 200, 0), normal(0, 300, 0)
    yield "small, no ties", normal(1, 30, 9), normal(0, 50, 9)
    yield "1000 against 1000, no ties", normal(2, 1000, 7), normal(0, 1000, 7)
    yield "1000 against 3000, ties", normal(0.3, 1000, 2), normal(0, 3000, 2)
    yield "3000 against 1000, ties", normal(1.5, 3000, 2), normal(0, 1000, 2)


BOOTSTRAPS = {
    "small, no ties": (standard, 50, 7, 0.95),
    "few distinct scores": (reference, 50, 11, 0.8),
    "by hand, ties": (openood, 50, 5, 0.95),
}


def main():
    rows = []
    for name, id_, ood in cases():
        id_, ood = (numpy.asarray(scores, dtype=float) + 0.0 for scores in (id_, ood))  # no -0
        settings = BOOTSTRAPS.get(name)
        rows.append(
            {
                "name": name,
                "id": id_.tolist(),
                "ood": ood.tolist(),
                "standard": standard(id_, ood),
                "reference": reference(id_, ood),
                "openood": openood(id_, ood),
                "threshold_at_95_tpr": threshold_at_95_tpr(id_),
                "bootstrap": settings and bootstrap(id_, ood, *settings),
            }
        )
    lines = ",\n ".join(json.dumps(row) for row in rows)
    Path(__file__).with_suffix(".json").write_text(f"[\n {lines}\n]\n")


if __name__ == "__main__":
    main()
