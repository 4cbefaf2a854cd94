"""Make the networks of the benchmark: full size, random weights, sane statistics.

    python benchmarks/networks/make.py FOLDER [NAME …]

needs what requirements.txt beside it names, and makes for each network NAME.onnx, as PyTorch's
TorchScript exporter writes it while its branches are there, and, where its package can merge them,
NAME.deploy.onnx. Nothing is downloaded: nobody's weights are needed to measure time.

Statistics are taken from the network's own activations, layer by layer, so that these neither
vanish nor overflow; scales and shifts of normalizations are drawn around 1 and 0.
"""

from __future__ import annotations

import argparse
import copy
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import own
import torch
from torch import Tensor, nn

OPSET = 17


@dataclass(frozen=True)
class Network:
    """How a network is made, what it reads, and how its package merges its branches."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    deploy: Callable[[nn.Module], nn.Module] | None = None


def timm_model(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False)

    return make


def reparameterized(model: nn.Module) -> nn.Module:
    from timm.utils.model import reparameterize_model

    return reparameterize_model(model)


def yolo() -> nn.Module:
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel("yolov10n.yaml", verbose=False)
    model.model[-1].export, model.model[-1].format = True, "onnx"
    return model


def bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024
    )
    config._attn_implementation = "eager"
    return Output(BertModel(config, add_pooling_layer=False))


class Output(nn.Module):
    """The first tensor of what a model returns."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[0]


def decoder() -> nn.Module:
    from diffusers.models.autoencoders.vae import Decoder

    return Decoder(
        in_channels=4,
        out_channels=3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
    )


NETWORKS = {
    "acnet_resnet18": Network(own.ACResNet18, (1, 3, 224, 224)),
    "repvgg_a0": Network(timm_model("repvgg_a0"), (1, 3, 224, 224), reparameterized),
    "mobileone_s0": Network(timm_model("mobileone_s0"), (1, 3, 224, 224), reparameterized),
    "mobileone_s4": Network(timm_model("mobileone_s4"), (1, 3, 224, 224), reparameterized),
    "fastvit_t8": Network(timm_model("fastvit_t8"), (1, 3, 256, 256), reparameterized),
    "repvit_m0_9": Network(timm_model("repvit_m0_9"), (1, 3, 224, 224), reparameterized),
    "ghostnetv3": Network(timm_model("ghostnetv3_100"), (1, 3, 224, 224), reparameterized),
    "yolov10n": Network(yolo, (1, 3, 320, 320), lambda m: m.fuse(verbose=False)),
    "paddle_ocr_det": Network(own.TextDetector, (1, 3, 320, 320)),
    "vae_decoder": Network(decoder, (1, 4, 32, 32)),
    "ecbsr": Network(own.ECBSR, (1, 1, 128, 128)),
    "bert_mini": Network(bert, (1, 128)),
}


def example(shape: tuple[int, ...]) -> Tensor:
    if len(shape) == 2:
        return torch.randint(0, 1000, shape)
    return torch.randn(shape)


def settle(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Give every normalization statistics of what it reads, and a scale and a shift of its own."""
    found = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for one in found:
        one.reset_running_stats()
        one.momentum = None
        if one.affine:
            nn.init.uniform_(one.weight, 0.5, 1.5)
            nn.init.normal_(one.bias, 0.0, 0.1)
    model.eval()
    for one in found:
        one.train()
    # A batch of one has no statistics where a map is one pixel.
    batch = (4, *shape[1:])
    with torch.no_grad():
        model(example(batch))
    model.eval()


def write(model: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example(shape),),
            str(path),
            opset_version=OPSET,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
        )
    onnx.checker.check_model(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="all of them by default")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or NETWORKS:
        network, path = NETWORKS[name], given.folder / f"{name}.onnx"
        if path.exists():
            continue
        torch.manual_seed(0)
        model = network.make()
        settle(model, network.shape)
        deploy = None if network.deploy is None else network.deploy(copy.deepcopy(model)).eval()
        if deploy is not None:
            write(deploy, network.shape, path.with_suffix(".deploy.onnx"))
        # Written last: where it is, all of it is there.
        write(model, network.shape, path)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
