"""The networks of this crate in PyTorch, written from their papers; pins their parameter counts.

Tensors have the reference implementation's names, and the compact network's those of this crate, so
that `load_state_dict` takes what `eloc export --format safetensors` writes.

Writes networks.json beside itself: the trainable parameters of each network for 8 and 80 classes, in
all and for each kind of layer, and the multiply-adds of the convolutions for an image.
tests/bench/pytorch.py times these networks. Needs PyTorch.

- DenseNet-BC: Huang et al. 2017, "Densely connected convolutional networks".
- WRN: Zagoruyko & Komodakis 2016, "Wide residual networks".
- compact: this crate's own network for machines without a GPU.
"""

import json
from collections import OrderedDict
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


def conv(inputs, outputs, size, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


class DenseLayer(nn.Module):
    """Bottleneck layer whose output is appended to its input."""

    def __init__(self, inputs, growth):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, 4 * growth, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(4 * growth), conv(4 * growth, growth, 3)

    def forward(self, x):
        squeezed = self.conv1(F.relu(self.bn1(x)))
        return torch.cat([x, self.conv2(F.relu(self.bn2(squeezed)))], 1)


class WideBlock(nn.Module):
    """Two 3x3 convolutions with dropout between; a changed width has a 1x1 shortcut."""

    def __init__(self, inputs, outputs, stride, dropout):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3)
        self.convShortcut = None if inputs == outputs else conv(inputs, outputs, 1, stride)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        activated = F.relu(self.bn1(x))
        skipped = x if self.convShortcut is None else self.convShortcut(activated)
        return skipped + self.conv2(self.dropout(F.relu(self.bn2(self.conv1(activated)))))


def named(**modules):
    return nn.Sequential(OrderedDict(modules))


def block(layers):
    return named(layer=nn.Sequential(*layers))


def head(channels, classes):
    return {
        "bn1": nn.BatchNorm2d(channels),
        "relu": nn.ReLU(),
        "pool": nn.AvgPool2d(8),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(channels, classes),
    }


def dense_net_bc(classes, depth=100, growth=12):
    layers_per_block = (depth - 4) // 6  # three blocks of layers with two convolutions each
    channels = 2 * growth
    modules = {"conv1": conv(3, channels, 3)}
    for index in (1, 2, 3):
        modules[f"block{index}"] = block(
            DenseLayer(channels + layer * growth, growth) for layer in range(layers_per_block)
        )
        channels += layers_per_block * growth
        if index < 3:
            modules[f"trans{index}"] = named(
                bn1=nn.BatchNorm2d(channels),
                relu=nn.ReLU(),
                conv1=conv(channels, channels // 2, 1),
                pool=nn.AvgPool2d(2),
            )
            channels //= 2
    return named(**modules, **head(channels, classes))


def wide_res_net(classes, depth=28, widen=10, dropout=0.3):
    blocks_per_group = (depth - 4) // 6  # three groups of blocks with two convolutions each
    channels = 16
    modules = {"conv1": conv(3, channels, 3)}
    for index, stride in ((1, 1), (2, 2), (3, 2)):
        width = 8 * widen * 2**index
        first = WideBlock(channels, width, stride, dropout)
        rest = (WideBlock(width, width, 1, dropout) for _ in range(blocks_per_group - 1))
        modules[f"block{index}"] = block([first, *rest])
        channels = width
    return named(**modules, **head(channels, classes))


class CompactBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = F.relu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        return F.relu(self.bn2(self.conv2(x)))


class Compact(nn.Module):
    """Frozen 2x2 whitening stem, three blocks of two convolutions, global max, small logits."""

    STEM = 24

    def __init__(self, classes, widths=(64, 128, 176)):
        super().__init__()
        self.stem = nn.Conv2d(3, self.STEM, 2)
        self.stem.weight.requires_grad = False
        first, second, third = widths
        self.block1 = CompactBlock(self.STEM, first)
        self.block2 = CompactBlock(first, second)
        self.block3 = CompactBlock(second, third)
        self.fc = nn.Linear(third, classes, bias=False)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(F.relu(self.stem(x)))))
        return self.fc(x.amax((2, 3))) / 9


NETWORKS = {
    "compact": Compact,
    "densenet-bc-100-12": dense_net_bc,
    "densenet-bc-40-12": partial(dense_net_bc, depth=40),
    "wrn-28-10": wide_res_net,
    "wrn-16-2": partial(wide_res_net, depth=16, widen=2),
}


@torch.no_grad()
def multiply_adds(network):
    """Those of the convolutions for one image."""
    total = 0

    def add(convolution, inputs, output):
        nonlocal total
        total += output[0].numel() * convolution.weight[0].numel()

    hooks = [module.register_forward_hook(add) for module in network.modules() if isinstance(module, nn.Conv2d)]
    network.eval()(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return total


def counts(network):
    def of(kind):
        modules = [module for module in network.modules() if isinstance(module, kind)]
        return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)

    return {
        "trainable": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "frozen": sum(p.numel() for p in network.parameters() if not p.requires_grad),
        "convolutions": of(nn.Conv2d),
        "batch_norms": of(nn.BatchNorm2d),
        "linear": of(nn.Linear),
        "multiply_adds": multiply_adds(network),
    }


def main():
    rows = []
    for name, make in NETWORKS.items():
        for classes in (8, 80):
            network = make(classes)
            with torch.no_grad():
                assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, classes)
            rows.append({"network": name, "classes": classes, **counts(network)})
    lines = ",\n ".join(json.dumps(row) for row in rows)
    Path(__file__).with_suffix(".json").write_text(f"[\n {lines}\n]\n")


if __name__ == "__main__":
    main()
