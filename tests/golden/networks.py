"""The networks of this crate in PyTorch, written from their papers; pins their parameter counts.

Writes networks.json beside itself: the trainable parameters of each network for 8 and 80 classes, in
all and for each kind of layer. tests/bench/pytorch.py times these networks. Needs PyTorch.

- DenseNet-BC: Huang et al. 2017, "Densely connected convolutional networks".
- WRN: Zagoruyko & Komodakis 2016, "Wide residual networks".
- compact: this crate's own network for machines without a GPU.
"""

import json
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


def conv(inputs, outputs, size, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


class Activated(nn.Sequential):
    """BN - ReLU, in front of every convolution of a pre-activation network."""

    def __init__(self, channels):
        super().__init__(nn.BatchNorm2d(channels), nn.ReLU())


class DenseLayer(nn.Module):
    """Bottleneck layer whose output is appended to its input."""

    def __init__(self, inputs, growth):
        super().__init__()
        self.squeeze = nn.Sequential(Activated(inputs), conv(inputs, 4 * growth, 1))
        self.grow = nn.Sequential(Activated(4 * growth), conv(4 * growth, growth, 3))

    def forward(self, x):
        return torch.cat([x, self.grow(self.squeeze(x))], 1)


class DenseNetBC(nn.Sequential):
    def __init__(self, classes, depth=100, growth=12, reduction=0.5):
        layers_per_block = (depth - 4) // 6  # three blocks of layers with two convolutions each
        channels = 2 * growth
        layers = [conv(3, channels, 3)]
        for block in range(3):
            if block > 0:
                reduced = int(channels * reduction)
                layers += [Activated(channels), conv(channels, reduced, 1), nn.AvgPool2d(2)]
                channels = reduced
            for _ in range(layers_per_block):
                layers.append(DenseLayer(channels, growth))
                channels += growth
        layers += [Activated(channels), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(channels, classes)]
        super().__init__(*layers)


class WideBlock(nn.Module):
    """Two 3x3 convolutions with dropout between; a changed width has a 1x1 shortcut."""

    def __init__(self, inputs, outputs, stride, dropout):
        super().__init__()
        self.activate = Activated(inputs)
        self.first = conv(inputs, outputs, 3, stride)
        self.rest = nn.Sequential(Activated(outputs), nn.Dropout(dropout), conv(outputs, outputs, 3))
        self.shortcut = None if inputs == outputs else conv(inputs, outputs, 1, stride)

    def forward(self, x):
        activated = self.activate(x)
        skipped = x if self.shortcut is None else self.shortcut(activated)
        return skipped + self.rest(self.first(activated))


class WideResNet(nn.Sequential):
    def __init__(self, classes, depth=28, widen=10, dropout=0.3):
        blocks_per_group = (depth - 4) // 6  # three groups of blocks with two convolutions each
        channels = 16
        layers = [conv(3, channels, 3)]
        for width, stride in [(16 * widen, 1), (32 * widen, 2), (64 * widen, 2)]:
            for block in range(blocks_per_group):
                layers.append(WideBlock(channels, width, stride if block == 0 else 1, dropout))
                channels = width
        layers += [Activated(channels), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(channels, classes)]
        super().__init__(*layers)


class Compact(nn.Module):
    """Frozen 2x2 whitening stem, three blocks of two convolutions, global max, small logits."""

    STEM = 24

    def __init__(self, classes, widths=(64, 128, 176)):
        super().__init__()
        self.stem = nn.Conv2d(3, self.STEM, 2)
        self.stem.weight.requires_grad = False
        layers, channels = [], self.STEM
        for width in widths:
            layers += [conv(channels, width, 3), nn.MaxPool2d(2), Activated(width)]
            layers += [conv(width, width, 3), Activated(width)]
            channels = width
        self.blocks = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.head = nn.Linear(channels, classes, bias=False)

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.stem(x)))) / 9


NETWORKS = {
    "compact": Compact,
    "densenet-bc-100-12": DenseNetBC,
    "densenet-bc-40-12": partial(DenseNetBC, depth=40),
    "wrn-28-10": WideResNet,
    "wrn-16-2": partial(WideResNet, depth=16, widen=2),
}


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
