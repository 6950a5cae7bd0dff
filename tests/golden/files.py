"""Golden values for src/evaluation/files: arrays as NumPy saves them, and the scores of the logits in them.

Writes files.json beside itself and the files of the folder files. Scores are computed here in float64 from their definitions in
src/detection/scores.rs. Needs numpy.
"""

import json
from pathlib import Path

import numpy

FOLDER = Path(__file__).with_suffix("")
TEMPERATURE = 1000.0


def softmax(z):
    e = numpy.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def entropy(p):
    return -(p * numpy.log(p)).sum(1)


def scores(networks):
    """Every score of an ensemble's logits, a list of [n, classes]."""
    mean = numpy.mean([softmax(z) for z in networks], 0)
    tempered = [softmax(z / TEMPERATURE) for z in networks]
    pooled = softmax(numpy.mean([numpy.log(softmax(z)) for z in networks], 0) / TEMPERATURE)
    values = {
        "max softmax": mean.max(1),
        "max logit": numpy.mean([z.max(1) for z in networks], 0),
        "energy": numpy.mean([numpy.log(numpy.exp(z).sum(1)) for z in networks], 0),
        "entropy": -entropy(mean),
        "GEN": -((mean * (1 - mean)) ** 0.1).sum(1),
        "ELOC, epsilon 0": numpy.sum([p.max(1) - entropy(p) for p in tempered], 0),
        "ELOC, pooled": pooled.max(1) - entropy(pooled),
    }
    return {name: value.tolist() for name, value in values.items()}


def main():
    FOLDER.mkdir(exist_ok=True)
    generator = numpy.random.default_rng(0)
    sides = {}
    for side, images, scale in [("id", 7, 3), ("ood", 5, 1.5)]:
        # Half precision holds them, so that every type has the same values.
        sides[side] = [generator.normal(0, scale, (images, 4)).astype("f2").astype("f8") for _ in range(2)]
        for number, (logits, kind) in enumerate(zip(sides[side], ["<f4", "<f8"]), 1):
            numpy.save(FOLDER / f"{side}-{number}.npy", logits.astype(kind))
    logits = sides["id"][0]
    layouts = {
        f"{kind} {order}": numpy.asarray(logits, dtype=kind, order=order)
        for kind in ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]
        for order in "CF"
    }
    numpy.savez_compressed(FOLDER / "layouts.npz", **layouts)
    kinds = [f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (1, 2, 4, 8)]
    whole = {kind: numpy.arange(3).astype(kind) for kind in kinds}
    numpy.savez_compressed(FOLDER / "whole.npz", **whole)
    conf, label = numpy.array([0.5, 0.25, 0.75, 0.125, 1.0], "f4"), numpy.array([3, -1, 0, -1, 9])
    numpy.savez(FOLDER / "openood.npz", conf=conf, pred=numpy.array([3, 1, 2, 0, 9]), label=label)
    numpy.save(FOLDER / "objects.npy", numpy.array([1.0, None], dtype=object))
    values = {
        "logits": logits.tolist(),
        "one": {side: scores(networks[:1]) for side, networks in sides.items()},
        "ensemble": {side: scores(networks) for side, networks in sides.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
