"""Every exported network: its name, what it is, its input, and the flavours it is exported in."""

from collections.abc import Callable
from dataclasses import dataclass

from blocks import acnet, concat, large_kernel, linear, mobile, plain, repvgg, sequences
from torch import nn

ALL = ("L", "B", "D", "DN")
FULL = (*ALL, "Ldhw", "Ddhw")
FEW = ("L", "D")
KEPT = ("L", "B", "D")

ACNET = "ACNet, ICCV 2019"
REPVGG = "RepVGG, CVPR 2021"
LORA = "LoRA, ICLR 2022"
RESNET = "ResNet, CVPR 2016"


@dataclass(frozen=True)
class Entry:
    """One network of the folder."""

    name: str
    build: Callable[[], nn.Module]
    paper: str
    inside: str
    input: tuple[int, ...]
    flavours: tuple[str, ...] = FEW
    deploy: str | None = "L"  # the flavour of the deploy form


def _acb(**options: object) -> Callable[[], nn.Module]:
    return lambda: acnet.ACBlock(4, 6, **options)  # type: ignore[arg-type]


IMAGE = (1, 4, 19, 21)

CATALOGUE: tuple[Entry, ...] = (
    Entry("acb_p0", _acb(padding=0), ACNET, "3x3 + 3x1 + 1x3, thin branches crop", IMAGE, FULL),
    Entry("acb_p1", _acb(), ACNET, "3x3 + 3x1 + 1x3, padding 1", IMAGE, FULL),
    Entry("acb_k5p1", _acb(kernel=5), ACNET, "5x5, thin branches pad and crop", IMAGE, ALL),
    Entry("acb_s2", _acb(stride=2), ACNET, "stride 2", IMAGE, KEPT),
    Entry("acb_s2p0", _acb(stride=2, padding=0), ACNET, "stride 2, crops", IMAGE, ("L", "DN")),
    Entry("acb_g2", _acb(groups=2), ACNET, "two groups", IMAGE, KEPT),
    Entry("acb_bias", _acb(bias=True), ACNET, "convolutions with a bias before BN", IMAGE, ALL),
    Entry("acb_reflect", _acb(padding_mode="reflect"), ACNET, "reflect padding", IMAGE, ALL, "D"),
    Entry(
        "acb_circular", _acb(padding_mode="circular"), ACNET, "circular padding", IMAGE, ALL, "D"
    ),
    Entry("acb_1d", _acb(dims=1), ACNET, "1-D: 3 + 1", (1, 4, 31), KEPT),
    Entry("acb_3d", _acb(dims=3), ACNET, "3-D, a thin branch per axis", (1, 4, 9, 8, 7), KEPT),
    Entry("ac_resnet", acnet.ACResNet, ACNET, "small ResNet of AC blocks", (1, 3, 32, 32), FULL),
    Entry(
        "ac_droppath",
        lambda: acnet.ACDropPath(6),
        ACNET,
        "AC block, Dropout, DropPath",
        (1, 6, 17, 17),
        ALL,
    ),
    Entry(
        "repvgg",
        repvgg.RepVGGNet,
        REPVGG,
        "four blocks, identity BN, stride 2",
        (1, 4, 32, 32),
        FULL,
    ),
    Entry("repvgg_g2", lambda: repvgg.RepVGGNet(2), REPVGG, "two groups", (1, 4, 32, 32), KEPT),
    Entry("repvgg_se", repvgg.repvgg_se, REPVGG, "SE between sum and ReLU", (1, 4, 32, 32), ALL),
    Entry(
        "yolov7_repconv",
        repvgg.yolov7_repconv,
        "YOLOv7, CVPR 2023",
        "RepConv with SiLU",
        (1, 6, 24, 24),
    ),
    Entry(
        "gelan",
        repvgg.RepNCSPELAN,
        "YOLOv9, ECCV 2024",
        "RepNCSPELAN4 with RepConvN",
        (1, 8, 20, 20),
        ALL,
    ),
    Entry(
        "yolov10_cib",
        lambda: repvgg.CIB(6),
        "YOLOv10, NeurIPS 2024",
        "CIB with RepVGGDW",
        (1, 6, 20, 20),
        ALL,
    ),
    Entry(
        "qarepvgg_v1",
        lambda: repvgg.qarepvgg(False),
        "QARepVGG, AAAI 2024",
        "raw x and raw 1x1, BN after the sum",
        (1, 6, 20, 20),
        ALL,
    ),
    Entry(
        "qarepvgg_v2",
        lambda: repvgg.qarepvgg(True),
        "QARepVGG, AAAI 2024",
        "as V1, and a padded average pool",
        (1, 6, 20, 20),
        ALL,
    ),
    Entry(
        "repopt",
        repvgg.repopt,
        "RepOptimizers, ICLR 2023",
        "LinearAddBlock",
        (1, 6, 20, 20),
        ALL,
    ),
    Entry(
        "mobileone",
        mobile.mobileone,
        "MobileOne, CVPR 2023",
        "4 branches + 1x1 + BN, dw and pw",
        (1, 3, 32, 32),
        FULL,
    ),
    Entry(
        "repghost",
        lambda: mobile.RepGhostBottleneck(6, 8),
        "RepGhost, 2022",
        "cheap dw + identity BN, SE, residual",
        (1, 6, 20, 20),
        ALL,
    ),
    Entry(
        "ghostnetv3",
        mobile.GhostV3Bottleneck,
        "GhostNetV3, 2024",
        "re-parameterized halves, Concat, channel crop",
        (1, 6, 20, 20),
        ALL,
    ),
    Entry(
        "repvit",
        lambda: mobile.RepViTBlock(8),
        "RepViT, CVPR 2024",
        "dw 3x3 + dw 1x1 + x, BN after the sum",
        (1, 8, 18, 18),
        FULL,
    ),
    Entry(
        "fastvit",
        lambda: mobile.FastViTBlock(8),
        "FastViT, ICCV 2023; MobileCLIP, CVPR 2024",
        "x + g(mixer(x) - norm(x)), ConvFFN",
        (1, 8, 18, 18),
        FULL,
    ),
    Entry(
        "lcnetv3",
        mobile.lcnetv3,
        "PP-LCNetV3 (PP-OCRv4), 2023",
        "branches, scalar affine, Hardswish, affine",
        (1, 6, 20, 20),
        ALL,
    ),
    Entry(
        "levit",
        mobile.LevIT,
        "LevIT, ICCV 2021",
        "Conv-BN stem, Linear-BN attention, residuals",
        (1, 3, 24, 24),
    ),
    Entry(
        "replknet",
        lambda: large_kernel.RepLKBlock(6),
        "RepLKNet, CVPR 2022",
        "dw 13x13 + dw 5x5, BN before 1x1",
        (1, 6, 24, 24),
        ALL,
    ),
    Entry(
        "unireplknet",
        lambda: large_kernel.UniRepLKBlock(6),
        "UniRepLKNet, CVPR 2024",
        "dw 13x13 + 4 dilated, BN behind, SE, GRN",
        (1, 6, 24, 24),
        ALL,
    ),
    Entry(
        "dbb",
        lambda: sequences.DiverseBranches(4, 4),
        "Diverse Branch Block, CVPR 2021",
        "kxk, 1x1, 1x1-kxk, 1x1-pool; BN with bordered padding",
        (1, 4, 16, 16),
        KEPT,
    ),
    Entry(
        "ecb",
        lambda: sequences.EdgeBranches(3, 3),
        "ECBSR, ACM MM 2021",
        "3x3, 1x1-3x3, 1x1-Sobel, 1x1-Laplace, x; border is the bias",
        (1, 3, 16, 16),
    ),
    Entry(
        "sesr",
        sequences.SESR,
        "SESR, MLSys 2022",
        "kxk expansion, 1x1 projection, residual",
        (1, 1, 20, 20),
        ("L", "D", "DN", "Ldhw"),
    ),
    Entry(
        "expandnet",
        sequences.expandnet,
        "ExpandNets, NeurIPS 2020",
        "padded 1x1, unpadded 3x3, 1x1",
        (1, 4, 18, 18),
        KEPT,
    ),
    Entry(
        "vanillanet",
        sequences.vanillanet,
        "VanillaNet, NeurIPS 2023",
        "1x1-BN, LeakyReLU of slope 1, 1x1-BN",
        (1, 6, 20, 20),
        ALL,
    ),
    Entry(
        "orepa",
        lambda: sequences.OnlineReparam(6),
        "OREPA, CVPR 2022",
        "kernel computed by Einsum in the graph",
        (1, 6, 16, 16),
        ("D", "DN"),
    ),
    Entry("conv_pw", sequences.conv_then_pointwise, "", "3x3 with bias, 1x1", (1, 4, 16, 16)),
    Entry(
        "pw_conv",
        lambda: sequences.pointwise_then_conv(False),
        "",
        "1x1 without bias, padded 3x3",
        (1, 4, 16, 16),
    ),
    Entry(
        "pw_conv_bias",
        lambda: sequences.pointwise_then_conv(True),
        "",
        "1x1 with bias, padded 3x3: must stay",
        (1, 4, 16, 16),
        FEW,
        None,
    ),
    Entry(
        "pw_pool_bn",
        lambda: sequences.PointwisePoolBN(6, 8),
        "",
        "1x1, average pool of stride 2, BN",
        (1, 6, 19, 19),
        KEPT,
    ),
    Entry(
        "pw_pool_excluded",
        sequences.pointwise_pool_excluded,
        "",
        "average pool that does not count its padding: must stay",
        (1, 4, 16, 16),
        FEW,
        None,
    ),
    Entry(
        "convtranspose",
        lambda: linear.TransposedBranches(4, 6, False),
        "",
        "ConvTranspose 4x4-BN + 2x2-BN",
        (1, 4, 9, 11),
        ALL,
    ),
    Entry(
        "convtranspose_bn",
        lambda: linear.TransposedBranches(4, 6, True),
        "",
        "ConvTranspose 4x4 + 2x2, then BN",
        (1, 4, 9, 11),
        KEPT,
    ),
    Entry("lora_2d", lambda: linear.LoRALinear(12, 10), LORA, "unmerged, Gemm", (5, 12)),
    Entry("lora_3d", lambda: linear.LoRALinear(12, 10), LORA, "unmerged, MatMul", (1, 7, 12)),
    Entry(
        "lora_transposed",
        lambda: linear.LoRATransposed(12, 10),
        LORA,
        "weights stored as [inputs, outputs]",
        (1, 7, 12),
    ),
    Entry("lora_mlp", linear.lora_mlp, LORA, "perceptron with residual", (1, 7, 12), ALL),
    Entry(
        "linear_affine",
        lambda: linear.LinearAffine(12, 10),
        "",
        "Linear, scale, shift",
        (1, 7, 12),
    ),
    Entry(
        "linear_bn",
        lambda: linear.LinearBatchNorm(12, 10),
        "",
        "Linear, BatchNorm1d",
        (5, 12),
        KEPT,
    ),
    Entry(
        "head_pool",
        linear.ConvPoolHead,
        "",
        "1x1, GlobalAveragePool, Flatten, Linear",
        (1, 6, 12, 12),
    ),
    Entry("head_bn", linear.NormFlattenHead, "", "BN, Flatten, Linear", (1, 4, 5, 5)),
    Entry(
        "concat_pw",
        lambda: concat.ConcatPointwise(6),
        "",
        "Concat of three 1x1-BN",
        (1, 6, 16, 16),
        KEPT,
    ),
    Entry(
        "concat_mixed",
        concat.ConcatMixed,
        "",
        "Concat of 1x1, 1x1, 3x3; ReLU",
        (1, 6, 16, 16),
        KEPT,
    ),
    Entry(
        "concat_project",
        lambda: concat.ConcatProject(3, 4),
        "",
        "Concat of 1x1, 3x3, dilated 3x3; 1x1",
        (1, 3, 16, 16),
        KEPT,
    ),
    Entry(
        "inception_a",
        lambda: concat.InceptionA(8),
        "Inception-v3, CVPR 2016",
        "Inception-A, ReLU in every branch",
        (1, 8, 16, 16),
        KEPT,
        None,
    ),
    Entry(
        "parallel_branches",
        concat.ParallelBranches,
        "",
        "3x3, 5x5, 7x7, each ReLU and max pool; Concat, 1x1",
        (1, 3, 24, 24),
        ALL,
        None,
    ),
    Entry("resnet_basic", plain.resnet_basic, RESNET, "basic blocks", (1, 3, 32, 32), ALL, None),
    Entry(
        "resnet_bottleneck",
        plain.resnet_bottleneck,
        RESNET,
        "bottlenecks",
        (1, 6, 20, 20),
        FEW,
        None,
    ),
    Entry(
        "densenet",
        plain.densenet,
        "DenseNet, CVPR 2017",
        "BN before the convolutions",
        (1, 6, 16, 16),
        KEPT,
        None,
    ),
    Entry(
        "vovnet",
        plain.OneShotAggregation,
        "VoVNet, CVPRW 2019",
        "one-shot aggregation",
        (1, 6, 16, 16),
        FEW,
        None,
    ),
    Entry(
        "res2net",
        plain.Res2Net,
        "Res2Net, TPAMI 2021",
        "split, hierarchical residuals",
        (1, 8, 16, 16),
        FEW,
        None,
    ),
    Entry(
        "peleenet",
        plain.peleenet,
        "PeleeNet, NeurIPS 2018",
        "two-way dense layers",
        (1, 6, 16, 16),
        FEW,
        None,
    ),
    Entry(
        "convnext",
        plain.ConvNeXtBlock,
        "ConvNeXt, CVPR 2022",
        "dw 7x7, LayerNorm, NHWC perceptron, layer scale",
        (1, 8, 16, 16),
        FEW,
        None,
    ),
    Entry(
        "mbconv",
        plain.mbconv,
        "EfficientNet, ICML 2019",
        "MBConv with SE",
        (1, 6, 16, 16),
        FEW,
        None,
    ),
    Entry(
        "transformer",
        plain.transformer,
        "Transformer, NeurIPS 2017",
        "self-attention and perceptron",
        (1, 7, 12),
        FEW,
        None,
    ),
)
