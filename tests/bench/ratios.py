"""Prints a Markdown table of images/s here and elsewhere, and the ratios: ratios.py OUTPUT...

Each OUTPUT has the lines that `cargo bench --bench speed`, pytorch.py or onnx_runtime.py printed. Of several
batches of the same work the fastest counts, on each side for itself.

>>> here = {"work": "forward", "network": "compact", "backend": "cpu", "share": 0.5, "peak_gflops": 200.0}
>>> ours = [here | {"batch": 8, "images_per_second": 90.0}, here | {"batch": 32, "images_per_second": 100.0}]
>>> other = {"work": "forward", "network": "compact", "batch": 8, "images_per_second": 40.0, "torch": "2.9.0"}
>>> onnx = {"work": "forward", "network": "compact", "batch": 1, "images_per_second": 80.0, "onnxruntime": "1.32.0"}
>>> print(table([*ours, other, other | {"batch": 32, "images_per_second": 50.0}, onnx]))
| work | network | backend | images/s (batch) | share of the peak | PyTorch (batch) | ratio | ONNX Runtime (batch) | ratio |
|---|---|---|---:|---:|---:|---:|---:|---:|
| forward | compact | cpu | 100.0 (32) | 50 % | 50.0 (32) | 2.00 | 80.0 (1) | 1.25 |
"""

import json
import statistics
import sys
from pathlib import Path

COLUMNS = ["images/s (batch)", "share of the peak", "PyTorch (batch)", "ratio", "ONNX Runtime (batch)", "ratio"]


def rows_in(text):
    """The JSON lines; a build prints others besides."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def best(rows, *keys):
    """{values of the keys: the fastest row that has them}, in the order of the first ones."""
    found = {}
    for row in rows:
        case = tuple(row[key] for key in keys)
        found[case] = max(found.get(case, row), row, key=lambda row: row["images_per_second"])
    return found


def speed(row):
    return f"{row['images_per_second']:.1f} ({row['batch']})"


def table(rows):
    here = best((row for row in rows if "backend" in row), "work", "network", "backend")
    others = [best((row for row in rows if name in row), "work", "network") for name in ("torch", "onnxruntime")]
    lines = [f"| work | network | backend | {' | '.join(COLUMNS)} |", "|---|---|---|" + "---:|" * len(COLUMNS)]
    for (work, network, backend), row in here.items():
        cells = [speed(row), f"{100 * row['share']:.0f} %" if "share" in row else ""]
        for other in others:
            if other := other.get((work, network)):
                cells += [speed(other), f"{row['images_per_second'] / other['images_per_second']:.2f}"]
            else:
                cells += ["", ""]
        lines.append(f"| {work} | {network} | {backend} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    rows = [row for file in sys.argv[1:] for row in rows_in(Path(file).read_text())]
    print(table(rows))
    if peaks := [row["peak_gflops"] for row in rows if "peak_gflops" in row]:
        range_ = f"{min(peaks):.0f} to {max(peaks):.0f}"
        print(f"\nPeak of fused multiply-adds: {statistics.median(peaks):.0f} GFLOP/s (median; {range_}).")


if __name__ == "__main__":
    main()
