"""The rules by which candidates are left alone: what each is about, and what one can do."""

from __future__ import annotations

RULES = {
    "attributes": "An attribute or a shape is not what the operator's definition says.",
    "auto_pad": "SAME padding at a stride depends on the input's size; export a fixed size, "
    "or explicit pads.",
    "average": "A mean that leaves padding out divides by fewer elements at the border than "
    "inside; count_include_pad=1, or no padding, makes it a convolution.",
    "border": "A window that reads padding around a sum sees zeros there, not the bias that a "
    "merged kernel would spread. Pad before the first operator, as re-parameterizable blocks do.",
    "broadcast": "Only constants per channel can be moved into a kernel.",
    "cast": "It rounds between two tensors of a wider type; without it, the result is another.",
    "ceil_mode": "With ceil_mode the last window lies partly outside; use an explicit pad.",
    "constant": "Only constants can be merged. An initializer that is a graph input as well may "
    "be overridden: --freeze-initializers takes it as a constant.",
    "cost": "Merging is possible, but the merged model would run longer.",
    "custom": "Operators outside of the ONNX standard are not understood.",
    "dynamic": "It depends on a size that is left open; export that size as fixed.",
    "equalize": "A factor per channel has to pass unchanged from the weights that make the channel "
    "to those that read it.",
    "fused": "Runtimes run this group of operators as one; merged in part, it would run longer.",
    "geometry": "Branches merge when strides, output sizes and padding modes are the same.",
    "keep": "Left alone because --keep says so.",
    "layout": "Channels have to stay on one axis from end to end.",
    "operator": "ONNX has no operator that computes the merged form.",
    "opset": "The operator set is too old; export at a newer one.",
    "output_shape": "Its padding depends on another size; export explicit pads.",
    "reader": "Something else reads this tensor, so it has to stay. Whatever reads it can still "
    "be merged with the rest.",
    "reference": "An attribute has other values at each call of its function; export with the "
    "function inlined.",
    "resize": "A Resize by a whole factor that repeats every element equally often goes into the "
    "convolution behind it; one that interpolates changes places with operators on single "
    "positions.",
    "shape": "A size is not known; export with shapes, or run shape inference first.",
    "slower": "--tune measured it: merged, it takes longer on this machine.",
    "spread": "A transposed convolution with a stride leaves holes that a kernel can't cross.",
    "stack": "Branches that end in Concat can be one convolution, but only pay where the kernels "
    "are of one size, or the channels few.",
    "training": "Exported in training mode: statistics are of the batch, not constants. Call "
    "model.eval() before the export.",
    "values": "A weight holds what can't be computed with, such as a division by zero.",
    "without": "Left alone because --without says so.",
}


# Met on nearly every network, and right as it is: a bottleneck stays one.
ROUTINE = frozenset({"cost"})
# What whoever exports the model, or runs onnxac, can change.
_IN_YOUR_HANDS = frozenset(
    {
        "attributes",
        "auto_pad",
        "average",
        "ceil_mode",
        "constant",
        "dynamic",
        "opset",
        "output_shape",
        "shape",
        "training",
    }
)


def order(rule: str) -> tuple[bool, bool, str]:
    """Where a rule stands among others: what one can act on first, routine last."""
    return rule in ROUTINE, rule not in _IN_YOUR_HANDS, rule


def advice(rule: str) -> str:
    """What a rule is about; empty for one that is not listed."""
    return RULES.get(rule, "")
