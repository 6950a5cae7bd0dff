"""Writes a network of this crate as an ONNX file: onnx.py OUT.onnx [WEIGHTS].

WEIGHTS is a fold's file, or the folder of them, that `eloc export --format safetensors` wrote; without it the
weights are random, on which speed does not depend. The file's input `images` is [n, 3, 32, 32] in single
precision, normalised, of any n; its output `logits` [n, classes].

Needs PyTorch, onnx and onnxruntime, and safetensors where there are WEIGHTS. Compares what ONNX Runtime makes
of the file with PyTorch.
"""

import argparse
import sys
import warnings
from pathlib import Path

# In place of this folder, in which this script would stand for the package of its name.
sys.path[0] = str(Path(__file__).resolve().parents[1] / "golden")
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from networks import NETWORKS  # noqa: E402

# Both sum in single precision, each in its own order.
TOLERANCE = 1e-3
CLASSES = 8


def network_of(name, weights):
    """The network in evaluation mode, with the weights in a file or folder if there is one."""
    torch.manual_seed(0)
    if weights is None:
        return NETWORKS[name](CLASSES).eval()
    from safetensors.torch import load_file

    tensors = load_file(weights / "fold-1.safetensors" if weights.is_dir() else weights)
    network = NETWORKS[name](len(tensors["fc.weight"])).eval()
    network.load_state_dict(tensors)
    return network


def write(network, out):
    with warnings.catch_warnings():
        # The newer exporter needs another package and writes the same.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            torch.zeros(2, 3, 32, 32),
            out,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "n"}, "logits": {0: "n"}},
            dynamo=False,
        )


@torch.no_grad()
def check(network, out):
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    for count in (1, 7):
        images = torch.randn(count, 3, 32, 32)
        found = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
        expected = network(images)
        error = (found - expected).abs().max().item()
        if found.shape != expected.shape or not error < TOLERANCE * expected.abs().max().item():
            sys.exit(f"{out}: expected PyTorch's logits, found a difference of {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path, nargs="?")
    parser.add_argument("--network", choices=NETWORKS, default="compact")
    options = parser.parse_args()
    network = network_of(options.network, options.weights)
    write(network, options.out)
    check(network, options.out)


if __name__ == "__main__":
    main()
