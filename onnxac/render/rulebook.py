"""Each rule in full: why it is there, and what one can do. `onnxac rule`, and a page of the docs.

`rules` has the sentence that stands beside a refusal. The text here is plain, with backticks
around code, so that it is Markdown as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text

from onnxac.render.columns import Entry
from onnxac.render.rules import RULES, order


@dataclass(frozen=True)
class Page:
    """Why a rule is there, what one can do about it, and a model of `models/onnx` that meets it."""

    why: str
    do: str
    model: str = ""


_NOTHING = "Nothing: what was there is kept, and computes what it did."

PAGES: dict[str, Page] = {
    "attributes": Page(
        "The operator's definition allows no such attribute, weight or shape: a kernel for "
        "another number of channels, pads for another number of axes, a missing input. Runtimes "
        "differ in what they make of it, so nothing is concluded from it.",
        "Look at the node that is named, in the exporter's code or in Netron. A model that "
        "`onnx.checker` accepts can still be wrong in this way.",
    ),
    "auto_pad": Page(
        "`SAME_UPPER` and `SAME_LOWER` say how many outputs there are, not how much is padded. "
        "At a stride of 1 that is the same at every size. At a larger stride the padding follows "
        "from the size of the input, and if that is left open, so is the padding.",
        "Export the size as a number, or export explicit `pads`.",
    ),
    "average": Page(
        "A mean with `count_include_pad=0` divides by fewer elements at the border than inside, "
        "and a convolution has the same weights everywhere. A global average depends on the "
        "size of the map, and is exact only behind what looks at one position.",
        "`count_include_pad=1`, or an average without padding, is a convolution.",
        "pw_pool_excluded/L.onnx",
    ),
    "border": Page(
        "A padded window reads zeros around its input. If that input is itself a convolution "
        "with a bias, the merged kernel would see the bias there, not the zeros: right inside, "
        "wrong at the border. The same holds where the inner operator sums over neighbours, whose "
        "own border would be computed from what lies outside. Each position at which the outer "
        "window pads is evaluated, and where the padding is what the inner operator would "
        "compute, the two merge: DBB and ECBSR pad with the very bias.",
        "Pad before the first of the two, and by nothing before the second; that is how blocks "
        "are written which are meant to be re-parameterized. Or leave out the inner bias.",
        "pw_conv_bias/L.onnx",
    ),
    "broadcast": Page(
        "A constant with one value per channel scales rows of a kernel, and a constant that is "
        "one number scales all of it. A constant that differs from position to position, or that "
        "makes the other operand larger, does something that no kernel can.",
        "Check whether the constant was meant to have the shape [C, 1, 1].",
    ),
    "cast": Page(
        "The tensor is rounded to a narrower type and widened again. What comes out is what was "
        "rounded; merged, it would not be.",
        "Export the region in one precision, where the rounding is no part of the network.",
    ),
    "ceil_mode": Page(
        "With `ceil_mode=1` the last window may lie partly outside of the padded input, and the "
        "average there is over what is left. Whether there is such a window depends on the size.",
        "An explicit pad at the end does the same, and can be merged.",
    ),
    "constant": Page(
        "Kernels are computed from weights, so these have to be known: an initializer, a "
        "`Constant`, or what follows from such. A weight that is computed from the model's "
        "inputs is not, and an initializer that is a graph input as well (as old exporters write "
        "all of them) may be overridden by whoever runs the model. Quantized weights are left "
        "alone, since a merged kernel would have to be quantized anew.",
        "`--freeze-initializers` takes initializers that are graph inputs as constants. Fuse "
        "first, quantize then.",
    ),
    "cost": Page(
        "The two can be merged, and the result would run longer: the product of a 1×1 to a "
        "quarter of the channels and a 1×1 back is one 1×1 with twice the multiply-adds, and two "
        "3×3 are a 5×5 with 25 taps in place of 18. The estimate is made from times that were "
        "measured in ONNX Runtime (`benchmarks/costs.py`). On nearly every network this rule is "
        "met, and right; it is listed with `-v` only.",
        _NOTHING,
        "densenet/L.onnx",
    ),
    "custom": Page(
        "The operator is of a domain other than ONNX's. Its name may be that of a standard "
        "operator; what it computes is not known.",
        "Export with standard operators, where the exporter has the choice.",
    ),
    "dynamic": Page(
        "A Slice counts from the other end of an axis whose length is left open, or something "
        "else depends on that length. What it takes is another part at each size.",
        "Export that size as a number.",
    ),
    "equalize": Page(
        "`--equalize` divides a channel by a factor where it is made, and multiplies the weights "
        "that read it. In between, x/s has to give what x gives, divided by s: Relu, LeakyRelu, "
        "pools, sums and what moves data do that. A Clip with an upper bound, Sigmoid, SiLU, "
        "HardSwish and Gelu do not, an output of the model has to stay what it is, and a weight "
        "that several nodes share would have to be stored twice.",
        "A network that is to run on 8-bit integers quantizes better with Relu than with what "
        "bends elsewhere. For the rest, quantize weights per channel.",
    ),
    "fused": Page(
        "ONNX Runtime and other runtimes recognize these nodes together (Gelu, LayerNormalization, "
        "attention's scale) and run them as one kernel. Merged in part, the pattern would not be "
        "found any more, and the model would run longer.",
        _NOTHING,
        "gelan/L.onnx",
    ),
    "geometry": Page(
        "Branches lie over each other where they have the same stride, the same number of "
        "outputs and the same padding mode: then their taps are on one grid. A branch that "
        "strides by 2 next to one that strides by 1, or one that reflects next to one that pads "
        "with zeros, has no kernel in common with it.",
        "Where branches should merge, give them the same stride and padding mode in the model.",
    ),
    "keep": Page(
        "`--keep` names it, on the command line or in the repository's settings.",
        "Leave out the pattern to have it merged.",
    ),
    "layout": Page(
        "A kernel mixes channels along one axis and moves along all others. Between these "
        "operators the axes change their places (a Reshape splits channels into heads, a "
        "Transpose makes positions channels), so that the second works on an axis which the first "
        "left as it was.",
        _NOTHING,
    ),
    "operator": Page(
        "The sum is known, and no operator of ONNX computes it, or none for this element type: "
        "ONNX Runtime has no Conv for float64 on the CPU, for example.",
        "Export in float32 or float16.",
    ),
    "opset": Page(
        "Before opset 7, broadcasting and other attributes had another meaning. Such a model is "
        "passed through as it is.",
        "Export at opset 13 or newer, or convert with `onnx.version_converter`.",
    ),
    "output_shape": Page(
        "A ConvTranspose with `output_shape` or `auto_pad` derives its padding from the size of "
        "its input.",
        "Export explicit `pads` and `output_padding`.",
    ),
    "reader": Page(
        "Merging would remove the tensor, and it is needed: it is an output of the model, it is "
        "read inside of a body, or an operator that is not linear reads it, such as a Relu. What "
        "else reads it can still be merged with the rest.",
        "If it is an output that nobody uses, export without it.",
        "transformer/L.onnx",
    ),
    "reference": Page(
        "Inside of a function an attribute may be what the node says that calls it. Where all such "
        "nodes agree, their value is taken; where not, the operator is another one at each call.",
        "Inline the function: `onnx.inliner.inline_local_functions`.",
    ),
    "resize": Page(
        "A Resize to the nearest element by a whole factor repeats each element so often; then it "
        "is a part of the convolution behind it, which can read the small map itself. Other "
        "coordinates or roundings repeat some elements more often than others, factors that are "
        "not whole do too. An interpolation (linear, cubic, whatever its coordinates) mixes "
        "neighbours with weights that add up to one. So what looks at single positions, a 1×1 with "
        "its bias or a scale, goes before it, exactly, borders included, if that pays. A window "
        "that looks at neighbours stays behind it: at the border an interpolation repeats the "
        "edge, and a window pads with zeros.",
        "Where the exporter leaves a choice, take nearest with coordinates `asymmetric` and "
        "rounding `floor`, as PyTorch does, and whole factors.",
    ),
    "shape": Page(
        "The number of channels, or the rank of a tensor, does not follow from the model.",
        "Run `onnx.shape_inference`, or export with shapes.",
    ),
    "slower": Page(
        "With `--tune` each change is run beside what it replaces, those too that the cost model "
        "is against, and the faster form stays. The "
        "other kernels, another thread count, or another runtime may decide otherwise.",
        "Leave out `--tune`: the cost model decides, which knows no machine.",
    ),
    "spread": Page(
        "A transposed convolution with a stride puts zeros between the elements of its input. A "
        "bias in front of it would fill the holes, and a window behind it with a stride of its "
        "own would meet other holes at each position.",
        "Leave out the bias in front of the transposed convolution.",
    ),
    "stack": Page(
        "Convolutions of one input that end in a Concat are rows of one kernel. Where their "
        "kernels differ in size, the smaller ones are filled with zeros, and these cost time. "
        "They are merged where that is estimated to be faster all the same.",
        _NOTHING,
        "concat_project/L.onnx",
    ),
    "training": Page(
        "In training mode BatchNormalization computes the statistics of the batch. They are no "
        "constants, and the result depends on what else is in the batch.",
        "`model.eval()` before the export, and `training=TrainingMode.PRESERVE` only with it.",
    ),
    "values": Page(
        "A variance below zero, a division by zero: the model computes NaN or infinity there, and "
        "so would everything that it was merged with.",
        "Look at the weight that is named. A checkpoint that was not loaded is a common cause.",
    ),
    "without": Page(
        "`--without` names its kind of rewrite, on the command line or in the repository's "
        "settings.",
        "Leave out the kind to have it merged.",
    ),
}


def names() -> list[str]:
    """All rules; those first that one can do something about."""
    return sorted(RULES, key=order)


def contents() -> Iterator[RenderableType]:
    """All rules with their sentences, for the terminal."""
    width = max(map(len, RULES))
    for name in names():
        yield Entry(Text(f"{name:{width}}  ", "cyan"), Text(RULES[name]))


def page(name: str) -> Iterator[RenderableType]:
    """One rule, for the terminal."""
    yield Text(name, "bold cyan")
    for text in paragraphs(name):
        yield Text()
        yield Text(text)


def paragraphs(name: str) -> tuple[str, ...]:
    """What there is to say about a rule, in paragraphs of plain text that are Markdown too."""
    found = PAGES[name]
    seen = () if not found.model else (f"See it: `onnxac explain -v models/onnx/{found.model}`",)
    return (RULES[name], f"Why: {found.why}", f"What to do: {found.do}", *seen)
