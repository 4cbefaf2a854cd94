"""From PyTorch to ONNX Runtime: export, fuse, compare, run.

    python -m pip install -r examples/requirements.txt
    python examples/pytorch_export.py

The network is a small RepVGG in its training form: each block sums a 3x3 convolution, a 1x1
convolution and a normalized shortcut. The model is exported as it was trained; no block needs a
`switch_to_deploy` of its own, because onnxac merges the branches in the exported graph.
"""
# ruff: noqa: T201 - an example talks to whoever runs it

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

import onnxac

CHANNELS = 8
SIZE = 32


class RepVGGBlock(nn.Module):
    """ReLU over the sum of three parallel branches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.shortcut = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the branches, then ReLU."""
        summed = self.norm3(self.conv3(x)) + self.norm1(self.conv1(x)) + self.shortcut(x)
        return torch.relu(summed)


def network() -> nn.Module:
    """Three blocks and a classifier, with statistics as after some training."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(RepVGGBlock(CHANNELS) for _ in range(3)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(CHANNELS, 10),
    )
    # Batch normalization that has seen no data is the identity, and would test nothing.
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(16, CHANNELS, SIZE, SIZE))
    return model.eval()


def export(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write the model as ONNX, with a dynamic batch."""
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        # The exporter warns about its own internals.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            path,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def main() -> None:
    """Export, fuse and run the network, and say how far the results are apart."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("."), help="where the models go")
    folder = parser.parse_args().folder
    exported, fused = folder / "repvgg.onnx", folder / "repvgg.fused.onnx"

    model, x = network(), torch.randn(4, CHANNELS, SIZE, SIZE)
    export(model, x, exported)
    report = onnxac.optimize_file(exported, fused)

    session = ort.InferenceSession(fused, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"input": x.numpy()})
    with torch.no_grad():
        expected = model(x).numpy()
    error = np.abs(result - expected).max() / np.abs(expected).max()

    print(f"nodes: {report.before.stats.nodes} -> {report.after.stats.nodes}")
    print(f"convolutions: {report.before.stats.ops['Conv']} -> {report.after.stats.ops['Conv']}")
    print(f"largest error against PyTorch, relative to the largest output: {error:.1e}")
    if error > 1e-5:
        raise SystemExit("the fused model does not compute what the PyTorch model computes")


if __name__ == "__main__":
    main()
