"""Times in PyTorch the work that this crate's benchmarks time, for the README's ratio.

One JSON line per kind of work: {network, work, batch, images_per_second, device, threads, ...}.

- train: one step of the margin-entropy loss, a kept batch and a left-out batch in two forward passes,
  backward, SGD. Images counted are kept plus left-out.
- forward: one plain forward pass in evaluation mode.
- score: detection with five folds: forward, gradient for the input, perturbed forward, for each.

Needs PyTorch. Random images and weights: speed does not depend on them.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "golden"))
from networks import NETWORKS  # noqa: E402

BETA, MARGIN = 0.2, 0.4
TEMPERATURE, EPSILON = 1000.0, 0.002
CIFAR_STD = torch.tensor([63.0, 62.1, 66.7]).view(1, 3, 1, 1) / 255
CLASSES, FOLDS = 8, 5


def mean_entropy(logits):
    log_p = F.log_softmax(logits, 1)
    return -(log_p.exp() * log_p).sum(1).mean()


def train_work(network, options):
    """One optimiser step on a kept and a left-out batch; returns the images it takes in."""
    network.train()
    sgd = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-3)
    kept = images(options.batch, options)
    left_out = images(options.left_out, options)
    labels = torch.randint(CLASSES, (options.batch,), device=options.device)

    def step():
        sgd.zero_grad()
        with autocast(options):
            kept_logits, left_out_logits = network(kept), network(left_out)
        kept_logits, left_out_logits = kept_logits.float(), left_out_logits.float()
        hinge = F.relu(MARGIN + mean_entropy(kept_logits) - mean_entropy(left_out_logits))
        (F.cross_entropy(kept_logits, labels) + BETA * hinge).backward()
        sgd.step()

    return step, options.batch + options.left_out


def forward_work(network, options):
    network.eval()
    batch = images(options.batch, options)

    @torch.no_grad()
    def step():
        with autocast(options):
            network(batch)

    return step, options.batch


def score_work(network, options):
    """Five times the same network: the work of five folds without the memory."""
    network.eval().requires_grad_(False)
    batch = images(options.batch, options)

    def step():
        total = 0
        for _ in range(FOLDS):
            total = total + fold_score(network, batch, options)

    return step, options.batch


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


def images_per_second(step, count, seconds, device):
    """Best of the runs within `seconds`, after one to warm up: the machine may have other work."""
    if device.type != "cpu":
        enqueue, wait = step, torch.get_device_module(device).synchronize

        def step():
            enqueue()
            wait()

    step()
    best, end = float("inf"), time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or best == float("inf"):
        step()
        best = min(best, time.perf_counter() - start)
    return count / best


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", choices=[*NETWORKS, "all"], default="all")
    parser.add_argument("--work", choices=[*WORK, "all"], default="all")
    parser.add_argument("--batch", type=int, default=32, help="kept images of a step; images of a pass")
    parser.add_argument("--left-out", type=int, default=8, help="left-out images of a step")
    parser.add_argument("--seconds", type=float, default=10, help="for each kind of work")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--channels-last", action="store_true")
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    names = ["compact", "densenet-bc-100-12", "wrn-28-10"] if options.network == "all" else [options.network]
    for name in names:
        for work in WORK if options.work == "all" else [options.work]:
            network = NETWORKS[name](CLASSES).to(options.device)
            if options.channels_last:
                network = network.to(memory_format=torch.channels_last)
            step, count = WORK[work](network, options)
            rate = images_per_second(step, count, options.seconds, torch.device(options.device))
            row = {
                "network": name,
                "work": work,
                "batch": count,
                "images_per_second": round(rate, 2),
                "device": options.device,
                "threads": options.threads,
                "bf16": options.bf16,
                "channels_last": options.channels_last,
                "torch": torch.__version__,
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
