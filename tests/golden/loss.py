"""Golden values for src/loss.rs and src/odin.rs: values and gradients by PyTorch's autograd in float64.

Writes loss.json beside itself: the margin-entropy loss with its hinge active and not, and with LogitNorm, and the
gradients for the logits that ODIN's perturbation starts from. Logits are float32 numbers. Needs PyTorch.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

BETA, MARGIN = 0.2, 0.4
CLASSES = 8


def entropy(logits):
    """Entropy of softmax in nats, one per row."""
    log_p = F.log_softmax(logits, 1)
    return -(log_p.exp() * log_p).sum(1)


def margin_entropy(name, logits_in, labels, logits_out, logit_norm=None):
    logits_in, logits_out = logits_in.requires_grad_(), logits_out.requires_grad_()
    scaled = logits_in if logit_norm is None else F.normalize(logits_in) / logit_norm
    cross_entropy = F.cross_entropy(scaled, labels)
    entropy_in, entropy_out = entropy(logits_in).mean(), entropy(logits_out).mean()
    hinge = torch.clamp(MARGIN + entropy_in - entropy_out, min=0)
    loss = cross_entropy + BETA * hinge
    loss.backward()
    zeros = torch.zeros_like(logits_out)
    return {
        "name": name,
        "logit_norm": logit_norm,
        "logits_in": logits_in.tolist(),
        "labels": labels.tolist(),
        "logits_out": logits_out.tolist(),
        "cross_entropy": cross_entropy.item(),
        "entropy_in": entropy_in.item(),
        "entropy_out": entropy_out.item(),
        "hinge": hinge.item(),
        "loss": loss.item(),
        "grad_in": logits_in.grad.tolist(),
        "grad_out": (zeros if logits_out.grad is None else logits_out.grad).tolist(),
    }


def odin(logits, temperature):
    """Each image's losses and their gradients for its own logits."""
    row = {"temperature": temperature, "logits": logits.tolist(), "argmax": logits.argmax(1).tolist()}
    losses = {
        "cross_entropy": lambda z: F.cross_entropy(z / temperature, z.argmax(1), reduction="none"),
        "entropy": lambda z: entropy(z / temperature),
    }
    for name, loss in losses.items():
        z = logits.clone().requires_grad_()
        values = loss(z)
        values.sum().backward()
        row[name], row[f"{name}_grad"] = values.tolist(), z.grad.tolist()
    return row


def main():
    generator = torch.Generator().manual_seed(0)

    def normal(rows, spread):
        return (spread * torch.randn(rows, CLASSES, generator=generator)).double()

    labels = torch.tensor([0, 3, 7, 3, 5, 1])
    cases = [
        margin_entropy("hinge active", normal(6, 2), labels, normal(5, 2)),
        margin_entropy("hinge inactive", normal(6, 9), labels, normal(5, 0.3)),
    ]
    assert cases[0]["hinge"] > 0 and cases[1]["hinge"] == 0
    logits = normal(4, 5)
    cases.append(margin_entropy("LogitNorm", normal(6, 2), labels, normal(5, 2), logit_norm=0.5))
    assert cases[2]["hinge"] > 0
    golden = {
        "beta": BETA,
        "margin": MARGIN,
        "cases": cases,
        "odin": [odin(logits, temperature) for temperature in (0.2, 1, 1000)],
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
