"""Checkpoints as the reference implementation saves them, and what their networks answer, in float64.

Writes into pytorch/ beside itself:

- cifar10_dense.tar.gz, cifar100_wide.tar.gz: five folds each, small networks, legacy and ZIP format.
- densenet-bc-100-12.pth.tar.gz: one checkpoint of the network of the published ones.
- hostile.pth.tar, hostile-hidden.pth.tar: checkpoints that run a command where they are unpickled; in the
  second, its result is not part of what is loaded.
- NETWORK.safetensors: logits, gradient signs, scores and class probabilities of `test_images`.
- steps.safetensors: parameters and running statistics after training steps from fold 1.

`pytorch.py FOLDER` writes into FOLDER instead, and only the checkpoint and the values of WRN-28-10, which are too
large to keep and take about ten minutes; `ELOC_GOLDEN=FOLDER cargo test --release --test pytorch -- --ignored`
compares with them.

Weights are random, of few distinct values so that the archives stay small, and exact in half precision.
Twice run, it writes the same values; storage keys in the legacy format are memory addresses and differ.
Needs PyTorch, NumPy and safetensors; takes about a minute on one core.
"""

import gzip
import io
import os
import pickle
import struct
import sys
import tarfile
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from unittest import mock

import numpy
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import nn

from loss import BETA, MARGIN, entropy
from networks import dense_net_bc, wide_res_net

FOLDER = Path(__file__).with_suffix("")
FOLDS = 5
MEAN = torch.tensor([125.3, 123.0, 113.9], dtype=torch.float64).view(3, 1, 1) / 255
STD = torch.tensor([63.0, 62.1, 66.7], dtype=torch.float64).view(3, 1, 1) / 255
TEMPERATURE, EPSILON = 1000, 0.002
SIGN_IMAGES = 16
COMMAND = "touch eloc-was-here"


# Images.


def byte_hash(index):
    """A byte for each number; products and sums wrap at 32 bits."""
    h = index.astype(numpy.uint32) * numpy.uint32(2654435761)
    h ^= h >> numpy.uint32(15)
    h *= numpy.uint32(2246822519)
    h ^= h >> numpy.uint32(13)
    return h >> numpy.uint32(24)


def test_images():
    """64 images of noisy 4x4 blocks, u8 [64, 3, 32, 32]."""
    pixels = byte_hash(numpy.arange(64 * 3 * 32 * 32) + 1_000_000).reshape(64, 3, 32, 32)
    blocks = byte_hash(numpy.arange(64 * 3 * 8 * 8)).reshape(64, 3, 8, 8)
    blocks = blocks.repeat(4, axis=2).repeat(4, axis=3)
    return torch.from_numpy(((3 * blocks + pixels) // 4).astype(numpy.uint8))


def normalise(images):
    return (images.double() / 255 - MEAN) / STD


# Weights.


def power_of_two(value):
    return 2.0 ** torch.as_tensor(value).log2().round()


def coarse_normal(shape, std, levels, generator):
    """About normal; integers up to `levels` in size times a power of two."""
    integers = (levels / 2 * torch.randn(shape, generator=generator, dtype=torch.float64)).round()
    integers = integers.clamp(-levels, levels) + 0.0  # the sum turns -0 into 0
    assert integers.std() > 0, "all alike: choose another seed"
    return integers * power_of_two(std / integers.std())


def set_weights(network, images, levels, seed):
    """Random weights; running statistics and the last layer fitted roughly to `images`."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low, high, like):
        return torch.randint(low, high + 1, like.shape, generator=generator).double()

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            std = (2 / module.weight[0].numel()) ** 0.5
            module.weight.copy_(coarse_normal(module.weight.shape, std, levels, generator))
    for norm in norms:
        norm.weight.copy_(integers(4, 12, norm.weight) / 8)
        norm.bias.copy_(integers(-4, 4, norm.bias) / 8)
        norm.momentum = None  # running statistics become those of the one batch
    network.train()(images)
    for norm in norms:
        unit = power_of_two(norm.running_var.mean()) / 4
        norm.running_var.copy_((norm.running_var / unit).round().clamp(min=1) * unit)
        unit = power_of_two(norm.running_var.mean().sqrt()) / 4
        norm.running_mean.copy_((norm.running_mean / unit).round() * unit)
        norm.num_batches_tracked.fill_(40_000 + seed)
        norm.momentum = 0.1
    fc = network.fc
    fc.weight.copy_(coarse_normal(fc.weight.shape, 1, 7, generator))
    fc.bias.zero_()
    spread = logits(network, images).std(0).mean()
    fc.weight.mul_(power_of_two(2 / spread))
    centre = logits(network, images).mean(0)
    fc.bias.copy_((integers(-8, 8, centre) - 8 * centre).round() / 8)
    for name, tensor in network.state_dict().items():
        kept = tensor.half() if tensor.dim() > 1 else tensor.float()
        assert torch.equal(kept.double(), tensor.double()), name


# What detection computes.


def logits(network, images):
    with torch.no_grad():
        return torch.cat([network.eval()(batch) for batch in images.split(8)])


def gradient(network, images, loss):
    """d loss / dx of each image, where `loss` sums over images."""
    parts = []
    for batch in images.split(8):
        batch = batch.clone().requires_grad_()
        parts.append(torch.autograd.grad(loss(network.eval()(batch)), batch)[0])
    return torch.cat(parts)


LOSSES = {
    "cross-entropy": lambda z: F.cross_entropy(z / TEMPERATURE, z.argmax(1), reduction="sum"),
    "entropy": lambda z: entropy(z / TEMPERATURE).sum(),
}


def sign(gradient):
    return torch.where(gradient >= 0, 1.0, -1.0).double()


def clear_sign(gradient):
    """`sign`, and 0 where the gradient is too small for its sign to be pinned."""
    size = gradient.abs()
    clear = size > 1e-6 * size.amax((1, 2, 3), keepdim=True)
    return torch.where(clear, sign(gradient), 0.0).to(torch.int8)


def score(z):
    """max p - H(p) of p = softmax(z / T), from logits about their mean."""
    centred = (z - z.mean(1, keepdim=True)) / TEMPERATURE
    log_mean_exp = torch.log1p(torch.expm1(centred).mean(1, keepdim=True))
    log_ratio = centred - log_mean_exp  # ln of p times the number of classes
    p = log_ratio.exp() / z.shape[1]
    return p.amax(1) - (numpy.log(z.shape[1]) - (p * log_ratio).sum(1))


def check_argmax(z):
    top = z.topk(2, 1).values
    assert (top[:, 0] - top[:, 1]).min() > 1e-3, "near tie: choose another seed"
    assert len(z.argmax(1).unique()) > 3, "too few classes: choose another seed"


def detect(networks, images):
    golden = {}
    for fold, network in enumerate(networks, 1):
        z = logits(network, images)
        check_argmax(z)
        signs = sign(gradient(network, images, LOSSES["cross-entropy"]))
        perturbed = logits(network, images - EPSILON * signs / STD)
        golden[f"fold-{fold}.logits"] = z
        golden[f"fold-{fold}.perturbed"] = perturbed
        golden[f"fold-{fold}.score"] = score(perturbed)
    for name, loss in LOSSES.items():
        golden[f"fold-1.sign.{name}"] = clear_sign(gradient(networks[0], images[:SIGN_IMAGES], loss))
    return golden


def ensemble(golden, classes):
    """What a whole ensemble adds to the values of its folds."""
    permutation = numpy.random.RandomState(3).permutation(classes)
    left_out = permutation.reshape(FOLDS, -1)
    kept = [torch.from_numpy(permutation[~numpy.isin(permutation, out)]) for out in left_out]
    folds = range(1, FOLDS + 1)
    mean_softmax = torch.zeros(len(golden["fold-1.logits"]), classes, dtype=torch.float64)
    pooled = mean_softmax.clone()
    for fold in folds:
        logits = golden[f"fold-{fold}.logits"].double()
        mean_softmax[:, kept[fold - 1]] += F.softmax(logits, 1) / FOLDS
        # Each class is known to all folds but one.
        pooled[:, kept[fold - 1]] += F.log_softmax(logits, 1) / (FOLDS - 1)
    check_argmax(mean_softmax)
    return {
        "score": sum(golden[f"fold-{fold}.score"] for fold in folds),
        "mean-softmax": mean_softmax,
        "probabilities": F.softmax(pooled, 1),
        "kept": torch.stack(kept),
    }


def train(network, images, margin, stored):
    """Two steps, both with images 0..8 as kept and 8..16 as left out; tensors of the first `stored`."""
    network.train()
    optimiser = sgd(network)
    golden, losses = {}, []
    for step in (1, 2):
        z_in = network(images[:8])
        z_out = network(images[8:16])
        labels = (torch.arange(8) * 3 + 1) % z_in.shape[1]
        hinge = margin + entropy(z_in).mean() - entropy(z_out).mean()
        assert hinge > 0.05, "the hinge has to be active"
        loss = F.cross_entropy(z_in, labels) + BETA * hinge
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        for name, tensor in network.state_dict().items():
            if step <= stored and tensor.is_floating_point():
                golden[f"step-{step}.{name}"] = tensor.float()
    return golden | {"loss": torch.tensor(losses), "margin": torch.tensor([margin])}


# Files.


def sgd(network):
    return torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)


def checkpoint(network, fold, momentum):
    """What the reference saves; `momentum` is False for an optimiser that has taken no step."""
    optimiser = sgd(network)
    if momentum:
        generator = torch.Generator().manual_seed(fold)
        for parameter in network.parameters():
            buffer = coarse_normal(parameter.shape, 0.01, 3, generator).float()
            optimiser.state[parameter]["momentum_buffer"] = buffer
    state = network.state_dict()
    for name, tensor in state.items():  # in place: the dict carries module versions as an attribute
        state[name] = tensor.float() if tensor.is_floating_point() else tensor
    return {
        "epoch": 90 + fold,
        "state_dict": state,
        "best_prec1": numpy.float64(0.95 + fold / 1000),
        "opt": optimiser.state_dict(),
    }


def saved(value, legacy):
    """Bytes of torch.save on a machine with a GPU.

    The legacy format gets NumPy 1's name for the function that makes scalars, as in files of its time.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pth.tar"  # in the ZIP format the name of its top folder
        with mock.patch("torch.serialization.location_tag", lambda storage: "cuda:0"):
            torch.save(value, path, _use_new_zipfile_serialization=not legacy)
        data = path.read_bytes()
    return data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n") if legacy else data


def write_tensors(name, tensors, folder=FOLDER):
    (folder / f"{name}.safetensors").write_bytes(save(tensors))


def write_checkpoint(name, network, folder=FOLDER):
    data = saved(checkpoint(network, 1, momentum=False), legacy=False)
    (folder / f"{name}.pth.tar.gz").write_bytes(gzip.compress(data, mtime=0))


def write_archive(name, dataset, kind, networks, legacy):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for fold, network in enumerate(networks, 1):
            folder = tarfile.TarInfo(f"{dataset}_fold_{fold}_{kind}_checkpoint")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
            data = saved(checkpoint(network, fold, momentum=fold == 2), legacy)
            file = tarfile.TarInfo(f"{folder.name}/model_best.pth.tar")
            file.size = len(data)
            archive.addfile(file, io.BytesIO(data))
    (FOLDER / name).write_bytes(gzip.compress(buffer.getvalue(), mtime=0))


class Hostile:
    def __reduce__(self):
        return os.system, (COMMAND,)


def write_hostile(network):
    harmless = checkpoint(network, 1, momentum=False)
    (FOLDER / "hostile.pth.tar").write_bytes(saved(harmless | {"note": Hostile()}, legacy=True))

    call = pickle.GLOBAL + b"posix\nsystem\n"
    call += pickle.BINUNICODE + struct.pack("<I", len(COMMAND)) + COMMAND.encode()
    call += pickle.TUPLE1 + pickle.REDUCE + pickle.POP
    source = zipfile.ZipFile(io.BytesIO(saved(harmless, legacy=False)))
    with zipfile.ZipFile(FOLDER / "hostile-hidden.pth.tar", "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("/data.pkl"):
                protocol = pickle.PROTO + b"\x02"
                assert data.startswith(protocol)
                data = protocol + call + data.removeprefix(protocol)
            target.writestr(zipfile.ZipInfo(entry.filename), data)


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    FOLDER.mkdir(exist_ok=True)
    images = normalise(test_images())

    @torch.no_grad()
    def network(make, levels, seed):
        made = make()
        set_weights(made, images, levels, seed)
        return made

    if len(sys.argv) > 1:
        torch.set_num_threads(os.cpu_count())
        folder = Path(sys.argv[1])
        folder.mkdir(exist_ok=True)
        wide = network(partial(wide_res_net, 8, 28, 10, dropout=0), 1, 40)
        write_checkpoint("wrn-28-10", wide, folder)
        write_tensors("wrn-28-10", detect([wide], images), folder)
        return

    dense = [network(partial(dense_net_bc, 8, 10, 4), 7, 60 + fold) for fold in range(FOLDS)]
    wide = [network(partial(wide_res_net, 80, 10, 1, dropout=0), 3, 20 + fold) for fold in range(FOLDS)]
    deep = network(partial(dense_net_bc, 8, 100, 12), 1, 30)

    write_archive("cifar10_dense.tar.gz", "cifar10", "dense", dense, legacy=True)
    write_archive("cifar100_wide.tar.gz", "cifar100", "wide", wide, legacy=False)
    write_checkpoint("densenet-bc-100-12", deep)
    write_hostile(dense[0])

    for name, networks, classes in [("densenet-bc-10-4", dense, 10), ("wrn-10-1", wide, 100)]:
        golden = detect(networks, images)
        write_tensors(name, golden | ensemble(golden, classes))
    write_tensors("densenet-bc-100-12", detect([deep], images))

    steps = {
        "densenet-bc-10-4": train(dense[0], images, MARGIN, stored=2),
        "wrn-10-1": train(wide[0], images, margin=1.4, stored=1),  # at 0.4 only the first hinge is active
    }
    tensors = {f"{network}.{name}": t for network in steps for name, t in steps[network].items()}
    write_tensors("steps", tensors)


if __name__ == "__main__":
    main()
