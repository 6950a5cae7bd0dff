"""Times forward passes of an ONNX file in ONNX Runtime on the CPU: onnx_runtime.py FILE.onnx.

The file is one that onnx.py wrote. Prints a JSON line for each size of batch: {work, network, batch,
images_per_second, ...}, of which the best counts; its speed is the median of several runs.

Needs onnxruntime and NumPy.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

# Without this folder, whose onnx.py would stand for the package of that name.
sys.path.pop(0)
import numpy  # noqa: E402
import onnxruntime  # noqa: E402

LEAST_RUNS = 3


def median_seconds(run, seconds):
    """The median of the runs within `seconds`, after one to warm up, and how many there were."""
    run()
    times, end = [], time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or len(times) < LEAST_RUNS:
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times), len(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--network", default="compact", help="its name in the result")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16, 32, 64, 128])
    parser.add_argument("--seconds", type=float, default=4, help="for each batch")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(options.file, settings, providers=["CPUExecutionProvider"])
    random = numpy.random.default_rng(0)
    for batch in options.batches:
        images = random.standard_normal((batch, 3, 32, 32), dtype=numpy.float32)
        seconds, runs = median_seconds(lambda: session.run(["logits"], {"images": images}), options.seconds)
        row = {
            "work": "forward",
            "network": options.network,
            "batch": batch,
            "images_per_second": batch / seconds,
            "samples": runs,
            "threads": options.threads,
            "onnxruntime": onnxruntime.__version__,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
