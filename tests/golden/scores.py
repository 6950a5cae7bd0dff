"""Golden values for src/scores.rs: scores of logit rows, computed with 500 decimal digits.

Writes scores.json beside itself. Every value is the exact real number rounded once to float64, for the
float32 logits stored with it. Needs mpmath and numpy.
"""

import json
from pathlib import Path

import mpmath
import numpy

mpmath.mp.dps = 500  # one case has an entropy of 1e-129, the difference of numbers near 1

GEN_EXPONENT = mpmath.mpf("0.1")
GEN_CLASSES = 100


def rows():
    """Named logit rows as float32: class counts of CIFAR folds, and spreads from 1e-3 to 1e3."""
    generator = numpy.random.default_rng(0)
    for classes, spread in [(8, 1e-3), (8, 3.0), (8, 30.0), (80, 0.1), (80, 5.0), (10, 1000.0), (150, 4.0)]:
        yield f"{classes} classes, spread {spread:g}", generator.normal(0, spread, classes)
    confident = generator.normal(0, 1, 80)
    confident[17] = 40
    yield "80 classes, one far ahead", confident
    yield "8 equal logits", numpy.full(8, 2.5)
    yield "10 classes, offset 500", 500 + generator.normal(0, 2, 10)


def golden(logits, temperature):
    z = [mpmath.mpf(float(value)) / temperature for value in logits]
    log_partition = mpmath.log(mpmath.fsum(mpmath.exp(value) for value in z))
    p = [mpmath.exp(value - log_partition) for value in z]
    entropy = -mpmath.fsum(value * mpmath.log(value) for value in p)
    top = sorted(p, reverse=True)[:GEN_CLASSES]
    generalised = mpmath.fsum((value * (1 - value)) ** GEN_EXPONENT for value in top)
    uniform = mpmath.mpf(1) / len(p) - mpmath.log(len(p))
    return {
        "temperature": temperature,
        "eloc": float(max(p) - entropy),
        "eloc_above_uniform": float(mpmath.chop(max(p) - entropy - uniform, tol=1e-50)),
        "max_softmax": float(max(p)),
        "entropy": float(entropy),
        "energy": float(temperature * log_partition),
        "gen": float(-generalised),
    }


def main():
    cases = []
    for name, values in rows():
        logits = values.astype(numpy.float32)
        cases.append(
            {
                "name": name,
                "logits": [float(value) for value in logits],
                "max_logit": float(logits.max()),
                "scores": [golden(logits, temperature) for temperature in (1, 1000)],
            }
        )
    Path(__file__).with_suffix(".json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
