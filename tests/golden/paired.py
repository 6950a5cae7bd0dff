"""Golden values for src/evaluation/metrics: two scores of the same images, and how far they differ.

Writes paired.json beside itself. DeLong's test is computed from its definition, comparing every in-distribution with every
out-of-distribution image; paired bootstrap intervals use the draws of NumPy's legacy generator. Needs numpy and scikit-learn.
"""

import json
import math
from pathlib import Path

import numpy

from metrics import NAMES, openood, reference, standard


def delong(id_, ood):
    """`id_` [2, n] and `ood` [2, m]."""
    wins = (id_[:, :, None] > ood[:, None, :]) + 0.5 * (id_[:, :, None] == ood[:, None, :])
    of_id, of_ood = (numpy.subtract(*wins.mean(axis)) for axis in (2, 1))
    difference = of_id.mean()
    error = math.sqrt(of_id.var(ddof=1) / len(of_id) + of_ood.var(ddof=1) / len(of_ood))
    p = math.erfc(abs(difference / error) / math.sqrt(2)) if error > 0 else None
    return {"difference": float(difference), "standard_error": error, "p": p}


def bootstrap(id_, ood, definition, resamples, seed, level):
    """Images are drawn in their order, the in-distribution set first."""

    def differences(id_, ood):
        first, second = (definition(id_[score], ood[score]) for score in (0, 1))
        return [None if None in (first[name], second[name]) else first[name] - second[name] for name in NAMES]

    generator = numpy.random.RandomState(seed)
    values = []
    for _ in range(resamples):
        drawn = [
            side[:, generator.randint(0, side.shape[1], side.shape[1], dtype=numpy.uint32)] for side in (id_, ood)
        ]
        values.append(differences(*drawn))
    found = {"resamples": resamples, "seed": seed, "level": level}
    for name, value, column in zip(NAMES, differences(id_, ood), zip(*values)):
        if value is None or None in column:
            found[name] = None
        else:
            low, high = numpy.percentile(column, [50 - 50 * level, 50 + 50 * level])
            found[name] = {"value": value, "low": float(low), "high": float(high)}
    return {"definition": definition.__name__, "differences": found}


def cases():
    generator = numpy.random.default_rng(0)

    def scores(means, count, digits):
        common = generator.normal(0, 1, count)
        return numpy.round([mean + 0.8 * common + 0.6 * generator.normal(0, 1, count) for mean in means], digits)

    yield "ties", scores([1, 0.6], 40, 0), scores([0, 0], 60, 0), (standard, 40, 3, 0.95)
    yield "no ties", scores([1, 0.9], 60, 9), scores([0, 0], 30, 9), (openood, 40, 5, 0.9)
    yield "reference", scores([2, 1], 100, 2), scores([0, 0], 100, 2), (reference, 30, 7, 0.95)


def main():
    rows = []
    for name, id_, ood, settings in cases():
        id_, ood = id_ + 0.0, ood + 0.0  # no -0
        rows.append(
            {
                "name": name,
                "id": id_.tolist(),
                "ood": ood.tolist(),
                "delong": delong(id_, ood),
                "bootstrap": bootstrap(id_, ood, *settings),
            }
        )
    lines = ",\n ".join(json.dumps(row) for row in rows)
    Path(__file__).with_suffix(".json").write_text(f"[\n {lines}\n]\n")


if __name__ == "__main__":
    main()
