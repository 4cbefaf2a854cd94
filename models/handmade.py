"""Write graphs in the style of exporters that do not run here; onnx.helper and NumPy only.

    python models/handmade.py

NAME.paddle.onnx  as Paddle2ONNX writes: NCHW, BN kept, a convolution's bias in an Add of its own
                  with shape [1, C, 1, 1], hard swish in pieces
NAME.tf.onnx      as tf2onnx and Keras write: NHWC input and sums, a Transpose around every
                  convolution, SAME padding (explicit Pad, asymmetric pads or auto_pad), BN in NCHW
                  or as Mul and Add over the last axis, kernels stored as HWIO

The deploy form is fused by hand in float64 and kept in the same layout.
"""

from typing import Any

import numpy as np
from describe import ROOT, Record, describe, merge_into_index
from graph import Array, Branch, Graph, Norm, Random, identity_kernel

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


# -- Paddle2ONNX ------------------------------------------------------------------------------


def paddle_branch(g: Graph, x: str, branch: Branch, group: int = 1, reshape: bool = False) -> str:
    """Conv, the bias in an Add, BN. Older converters reshape the bias in the graph."""
    size = branch.weight.shape[2]
    y = g.op(
        "Conv",
        x,
        g.const(branch.weight),
        kernel_shape=[size, size],
        strides=[1, 1],
        dilations=[1, 1],
        group=group,
        pads=[size // 2] * 4,
    )
    if reshape:
        bias = g.op("Reshape", g.const(branch.bias), g.const(np.array([1, -1, 1, 1])))
    else:
        bias = g.const(branch.bias.reshape(1, -1, 1, 1))
    return g.norm(g.op("Add", y, bias), branch.norm)


def paddle_repvgg() -> tuple[Graph, str, Graph, str]:
    r, channels = Random("repvgg.paddle"), 6
    train, deploy = Graph(), Graph()
    x, y = "x", "x"
    for block in range(2):
        dense, point = r.branch(channels, channels, 3, 3), r.branch(channels, channels, 1, 1)
        identity = r.norm(channels)
        terms = [paddle_branch(train, x, b, reshape=block == 1) for b in (dense, point)]
        x = train.op("Relu", train.sum(*terms, train.norm(x, identity)))
        (k3, b3), (k1, b1) = dense.fused(3), point.fused(3)
        kernel = deploy.const(k3 + k1 + identity_kernel(channels, 3, identity.scale))
        bias = deploy.const(b3 + b1 + identity.shift)
        y = deploy.op("Relu", deploy.op("Conv", y, kernel, bias, pads=[1] * 4))
    return train, x, deploy, y


def hard_swish(g: Graph, x: str) -> str:
    """x * clip(x + 3, 0, 6) / 6, in four nodes."""
    three, zero, six = (g.const(np.array(v)) for v in (3.0, 0.0, 6.0))
    return g.op("Div", g.op("Mul", x, g.op("Clip", g.op("Add", x, three), zero, six)), six)


def paddle_lcnetv3() -> tuple[Graph, str, Graph, str]:
    r, channels = Random("lcnetv3.paddle"), 8
    train, deploy = Graph(), Graph()
    x, y = "x", "x"
    for depthwise in (True, False):
        inputs, group = (1, channels) if depthwise else (channels, 1)
        size = 3 if depthwise else 1
        branches = [r.branch(channels, inputs, size, size) for _ in range(3)]
        if depthwise:
            branches.append(r.branch(channels, inputs, 1, 1))
        identity, (scale, shift) = r.norm(channels), r.signed(2, 1)
        terms = [paddle_branch(train, x, branch, group) for branch in branches]
        total = train.sum(train.norm(x, identity), *terms)
        x = train.op("Add", train.op("Mul", train.const(scale), total), train.const(shift))
        fused = [branch.fused(size) for branch in branches]
        kernel = sum(k for k, _ in fused)
        kernel = kernel + identity_kernel(channels, size, identity.scale, depthwise)
        bias = sum(b for _, b in fused) + identity.shift
        weight, offset = deploy.const(kernel * scale), deploy.const(bias * scale + shift)
        y = deploy.op("Conv", y, weight, offset, group=group, pads=[size // 2] * 4)
        x, y = hard_swish(train, x), hard_swish(deploy, y)
    return train, x, deploy, y


# -- tf2onnx, Keras ---------------------------------------------------------------------------


def tf_conv(
    g: Graph, x: str, branch: Branch, how: str = "pads", *, stride: int = 1, group: int = 1
) -> str:
    """Transpose, SAME-padded convolution without bias, Transpose back."""
    rows, columns = branch.weight.shape[2:]
    x = g.op("Transpose", x, perm=TO_NCHW)
    attributes: dict[str, Any] = {"strides": [stride, stride], "group": group}
    attributes |= {"dilations": [1, 1], "kernel_shape": [rows, columns]}
    total = [max(0, size - stride) for size in (rows, columns)]
    begin = [amount // 2 for amount in total]
    end = [amount - first for amount, first in zip(total, begin, strict=True)]
    if how == "auto_pad":
        attributes["auto_pad"] = "SAME_UPPER"
    elif how == "pads":
        attributes["pads"] = [*begin, *end]
    else:
        amounts = np.array([0, 0, *begin, 0, 0, *end])
        x = g.op("Pad", x, g.const(amounts), mode="constant")
    weight = g.const(branch.weight)
    if how == "auto_pad":  # the kernel as TensorFlow stores it: [H, W, I, O]
        stored = g.const(np.ascontiguousarray(branch.weight.transpose(2, 3, 1, 0)))
        weight = g.op("Transpose", stored, perm=(3, 2, 0, 1))
    return g.op("Transpose", g.op("Conv", x, weight, **attributes), perm=TO_NHWC)


def tf_affine(g: Graph, x: str, norm: Norm) -> str:
    """Write BN as Mul and Add over the last axis."""
    return g.op("Add", g.op("Mul", x, g.const(norm.scale)), g.const(norm.shift))


def tf_norm(g: Graph, x: str, norm: Norm) -> str:
    """Write BN in NCHW, between two Transposes."""
    y = g.norm(g.op("Transpose", x, perm=TO_NCHW), norm)
    return g.op("Transpose", y, perm=TO_NHWC)


def tf_bias(g: Graph, x: str, branch: Branch) -> str:
    """Add the convolution's bias over the last axis."""
    return g.op("Add", x, g.const(branch.bias))


def tf_deploy(g: Graph, x: str, kernel: Array, bias: Array, **attributes: Any) -> str:
    """Transpose, one convolution, Transpose back, Relu."""
    y = g.op("Transpose", x, perm=TO_NCHW)
    y = g.op("Conv", y, g.const(kernel), g.const(bias), **attributes)
    return g.op("Relu", g.op("Transpose", y, perm=TO_NHWC))


def tf_repvgg(stride: int) -> tuple[Graph, str, Graph, str]:
    r, channels = Random(f"repvgg{stride}.tf"), 6
    train, deploy = Graph(), Graph()
    first, second, point = (r.branch(channels, channels, k, k, eps=1e-3) for k in (3, 3, 1))
    terms = []
    for branch, how, norm in (
        (first, "pad", tf_affine),
        (second, "auto_pad", tf_norm),
        (point, "pads", tf_affine),
    ):
        y = tf_bias(train, tf_conv(train, "x", branch, how, stride=stride), branch)
        terms.append(norm(train, y, branch.norm))
    fused = [branch.fused(3) for branch in (first, second)]
    kernel, bias = sum(k for k, _ in fused), sum(b for _, b in fused)
    # SAME padding of stride 2 on an even map: the 3x3 begins at tap 0, where the 1x1 reads.
    k1, b1 = point.fused(1)
    tap = 1 if stride == 1 else 0
    kernel[:, :, tap : tap + 1, tap : tap + 1] += k1
    bias = bias + b1
    if stride == 1:
        identity = r.norm(channels, 1e-3)
        terms.append(tf_norm(train, "x", identity))
        kernel = kernel + identity_kernel(channels, 3, identity.scale)
        bias = bias + identity.shift
    x = train.op("Relu", train.sum(*terms))
    pads = [1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]
    y = tf_deploy(deploy, "x", kernel, bias, strides=[stride, stride], pads=pads)
    return train, x, deploy, y


def tf_acnet() -> tuple[Graph, str, Graph, str]:
    r, channels = Random("acnet.tf"), 6
    train, deploy = Graph(), Graph()
    kernels = ((3, 3), (1, 3), (3, 1))
    branches = [r.branch(channels, channels, *kernel, eps=1e-3) for kernel in kernels]
    terms = [
        tf_norm(train, tf_bias(train, tf_conv(train, "x", branch), branch), branch.norm)
        for branch in branches
    ]
    x = train.op("Relu", train.sum(*terms))
    fused = [branch.fused(3) for branch in branches]
    kernel, bias = sum(k for k, _ in fused), sum(b for _, b in fused)
    return train, x, deploy, tf_deploy(deploy, "x", kernel, bias, pads=[1] * 4)


def tf_depthwise() -> tuple[Graph, str, Graph, str]:
    r, channels = Random("depthwise.tf"), 8
    train, deploy = Graph(), Graph()
    large, small = (r.branch(channels, 1, k, k, eps=1e-3) for k in (5, 3))
    identity = r.norm(channels, 1e-3)
    convs = [
        tf_affine(train, tf_conv(train, "x", branch, how, group=channels), branch.norm)
        for branch, how in ((large, "pad"), (small, "auto_pad"))
    ]
    x = train.op("Relu", train.sum(*convs, tf_affine(train, "x", identity)))
    large.bias, small.bias = np.zeros_like(large.bias), np.zeros_like(small.bias)
    (k5, b5), (k3, b3) = large.fused(5), small.fused(5)
    kernel = k5 + k3 + identity_kernel(channels, 5, identity.scale, depthwise=True)
    bias = b5 + b3 + identity.shift
    return train, x, deploy, tf_deploy(deploy, "x", kernel, bias, group=channels, pads=[2] * 4)


def tf_residual() -> tuple[Graph, str, Graph, str]:
    r, channels = Random("residual.tf"), 6
    train, deploy = Graph(), Graph()
    first, second = (r.branch(channels, channels, 3, 3, eps=1e-3) for _ in range(2))
    x = tf_norm(train, tf_bias(train, tf_conv(train, "x", first, "pad"), first), first.norm)
    x = tf_conv(train, train.op("Relu", x), second, "auto_pad")
    x = tf_affine(train, tf_bias(train, x, second), second.norm)
    x = train.op("Relu", train.op("Add", x, "x"))
    source = deploy.op("Transpose", "x", perm=TO_NCHW)
    y = source
    for index, branch in enumerate((first, second)):
        kernel, bias = (deploy.const(value) for value in branch.fused(3))
        y = deploy.op("Conv", y, kernel, bias, pads=[1] * 4)
        y = deploy.op("Add", y, source) if index else y
        y = deploy.op("Relu", y)
    return train, x, deploy, deploy.op("Transpose", y, perm=TO_NHWC)


DYNAMIC: tuple[int | str, ...] = ("DynamicDimension.0", 6, 20, 20)
GRAPHS = {
    "repvgg.paddle": (paddle_repvgg, DYNAMIC, 11),
    "lcnetv3.paddle": (paddle_lcnetv3, (1, 8, 20, 20), 14),
    "repvgg.tf": (lambda: tf_repvgg(1), (1, 20, 20, 6), 13),
    "repvgg_s2.tf": (lambda: tf_repvgg(2), (1, 20, 20, 6), 13),
    "acnet.tf": (tf_acnet, (1, 17, 19, 6), 13),
    "depthwise.tf": (tf_depthwise, (1, 18, 18, 8), 13),
    "residual.tf": (tf_residual, (1, 16, 16, 6), 17),
}


def main() -> None:
    """Write every graph and its deploy form, check them and add them to the index."""
    records: list[Record] = []
    for name, (build, shape, opset) in GRAPHS.items():
        train, x, deploy, y = build()
        block, _, flavour = name.partition(".")
        folder = ROOT / "onnx" / block
        folder.mkdir(parents=True, exist_ok=True)
        stem = flavour or "plain"
        paths = (folder / f"{stem}.onnx", folder / f"{stem}.deploy.onnx")
        train.save(paths[0], shape, x, opset)
        deploy.save(paths[1], shape, y, opset)
        records += [
            describe(paths[0], block, flavour, paths[1]),
            describe(paths[1], block, "deploy", None),
        ]
        print(f"{name}: {len(train.nodes)} nodes, deploy {len(deploy.nodes)}")
    merge_into_index(records)


if __name__ == "__main__":
    main()
