"""Prints images/s of each kind of work here and in PyTorch, and the ratio: ratios.py BENCH_OUTPUT PYTORCH_OUTPUT.

Both are the fastest of their samples, since other work on a machine only ever slows one down.
"""

import json
import re
import sys
from pathlib import Path

WORK = {"training_step": "train", "forward": "forward", "five_fold_scoring": "score"}
SCALE = {"": 1, "K": 1e3, "M": 1e6}


def measured_here(text):
    """{(work, backend, network): images/s} from the tree that divan prints."""
    rates, work, case = {}, None, None
    for line in text.splitlines():
        if found := re.search(r"[├╰]─ (training_step|forward|five_fold_scoring)\b", line):
            work = WORK[found[1]]
        elif found := re.search(r"[├╰]─ (\S+) (\S+) batch \d+", line):
            case = (work, found[1], found[2])
        elif case and (found := re.findall(r"([\d.]+) ([KM]?)item/s", line)):
            # Fastest, slowest, median, mean.
            rate, scale = found[0]
            rates.setdefault(case, float(rate) * SCALE[scale])
    return rates


def main():
    here = measured_here(Path(sys.argv[1]).read_text())
    rows = map(json.loads, Path(sys.argv[2]).read_text().splitlines())
    pytorch = {(row["work"], row["network"]): row["images_per_second"] for row in rows}
    print("| work | network | backend | images/s | PyTorch, images/s | ratio |")
    print("|---|---|---|---:|---:|---:|")
    for (work, backend, network), rate in sorted(here.items()):
        other = pytorch[work, network]
        print(f"| {work} | {network} | {backend} | {rate:.1f} | {other:.1f} | {rate / other:.2f} |")


if __name__ == "__main__":
    main()
