"""Does in PyTorch the work that this crate's benchmark does: pytorch.py BENCH_OUTPUT.

BENCH_OUTPUT has the lines that `cargo bench --bench speed` prints. For each one's network, work and batch
prints a JSON line of the same kind, its speed the median of several runs:

- train: one step of the margin-entropy loss, a kept batch and a left-out batch in two forward passes,
  backward, SGD. Images counted are kept plus left-out.
- forward: one plain forward pass in evaluation mode.
- score: detection with five folds: forward, gradient for the input, perturbed forward, for each.

Needs PyTorch. Random images and weights: speed does not depend on them.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

# In place of this folder, whose onnx.py would stand for the package of that name.
sys.path[0] = str(Path(__file__).resolve().parents[1] / "golden")
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from networks import NETWORKS  # noqa: E402

BETA, MARGIN = 0.2, 0.4
TEMPERATURE, EPSILON = 1000.0, 0.002
CIFAR_STD = torch.tensor([63.0, 62.1, 66.7]).view(1, 3, 1, 1) / 255
CLASSES, FOLDS = 8, 5
LEAST_RUNS = 3


def mean_entropy(logits):
    log_p = F.log_softmax(logits, 1)
    return -(log_p.exp() * log_p).sum(1).mean()


def train_work(network, row, options):
    """One optimiser step on a kept and a left-out batch."""
    network.train()
    sgd = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-3)
    kept = images(row["batch"], options)
    left_out = images(row["left_out"], options)
    labels = torch.randint(CLASSES, (row["batch"],), device=options.device)

    def step():
        sgd.zero_grad()
        with autocast(options):
            kept_logits, left_out_logits = network(kept), network(left_out)
        kept_logits, left_out_logits = kept_logits.float(), left_out_logits.float()
        hinge = F.relu(MARGIN + mean_entropy(kept_logits) - mean_entropy(left_out_logits))
        (F.cross_entropy(kept_logits, labels) + BETA * hinge).backward()
        sgd.step()

    return step


def forward_work(network, row, options):
    network.eval()
    batch = images(row["batch"], options)

    @torch.no_grad()
    def step():
        with autocast(options):
            network(batch)

    return step


def score_work(network, row, options):
    """Five times the same network: the work of five folds without the memory."""
    network.eval().requires_grad_(False)
    batch = images(row["batch"], options)

    def step():
        for _ in range(FOLDS):
            fold_score(network, batch, options)

    return step


def fold_score(network, batch, options):
    batch = batch.clone().requires_grad_()
    with autocast(options):
        logits = network(batch)
    logits = logits.float()
    F.cross_entropy(logits / TEMPERATURE, logits.argmax(1), reduction="sum").backward()
    sign = torch.where(batch.grad >= 0, 1.0, -1.0)
    with torch.no_grad(), autocast(options):
        logits = network(batch - EPSILON * sign / CIFAR_STD.to(batch.device))
    log_p = F.log_softmax(logits.double() / TEMPERATURE, 1)
    p = log_p.exp()
    return p.amax(1) + (p * log_p).sum(1)


WORK = {"train": train_work, "forward": forward_work, "score": score_work}


def images(count, options):
    batch = torch.randn(count, 3, 32, 32, device=options.device)
    return batch.to(memory_format=torch.channels_last) if options.channels_last else batch


def autocast(options):
    return torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=options.bf16)


def median_seconds(step, seconds, device):
    """The median of the runs within `seconds`, after one to warm up, and how many there were."""
    if device.type != "cpu":
        enqueue, wait = step, torch.get_device_module(device).synchronize

        def step():
            enqueue()
            wait()

    step()
    times, end = [], time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or len(times) < LEAST_RUNS:
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times), len(times)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bench", type=Path, help="what `cargo bench --bench speed` printed")
    parser.add_argument("--seconds", type=float, default=4, help="for each line")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--tf32", action="store_true", help="let convolutions and products of a CUDA card round to TF32")
    parser.add_argument("--channels-last", action="store_true")
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.tf32
    torch.manual_seed(0)
    done = set()
    for line in options.bench.read_text().splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        row = {key: row[key] for key in ("work", "network", "batch", "left_out")}
        # Several backends may have done the same.
        if (case := tuple(row.values())) in done:
            continue
        done.add(case)
        network = NETWORKS[row["network"]](CLASSES).to(options.device)
        if options.channels_last:
            network = network.to(memory_format=torch.channels_last)
        step = WORK[row["work"]](network, row, options)
        seconds, runs = median_seconds(step, options.seconds, torch.device(options.device))
        row |= {
            "images_per_second": (row["batch"] + row["left_out"]) / seconds,
            "samples": runs,
            "device": options.device,
            "threads": options.threads,
            "bf16": options.bf16,
            "tf32": options.tf32,
            "channels_last": options.channels_last,
            "torch": torch.__version__,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
