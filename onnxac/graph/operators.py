"""What is known of operators by name alone: one table, for every stage.

elementwise  every output element depends on the input element at its place only, and on
             operands that are the same everywhere
channelwise  every channel is computed from itself, without parameters per channel
averages     it is linear: every element is a mean of what it reads
weighted     carries weights: what a fusion saves is mostly theirs
moves        the inputs whose elements it moves about, None for all of them
random       its result differs from run to run
quantizes    a weight behind it is meant to stay as it is stored
types        element types that runtimes have it for, None for all floating types. ONNX Runtime
             1.32, CPU: Conv, ConvTranspose, BatchNormalization and the pools are not there in
             double, and BatchNormalization is there in float only
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import AttributeProto, TensorProto

_FLOAT = frozenset({TensorProto.FLOAT})
# Half precisions run by casts, or in runtimes that have them; double does not run at all.
_NOT_DOUBLE = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})

# Types of attributes that hold neither tensors nor graphs. To ask the others takes as long as all
# else that is asked of a node.
PLAIN = frozenset(
    {
        AttributeProto.FLOAT,
        AttributeProto.INT,
        AttributeProto.STRING,
        AttributeProto.FLOATS,
        AttributeProto.INTS,
        AttributeProto.STRINGS,
    }
)


@dataclass(frozen=True)
class Traits:
    """Traits of one operator of the standard domain."""

    elementwise: bool = False
    channelwise: bool = False
    averages: bool = False
    weighted: bool = False
    moves: tuple[int, ...] | None = ()
    random: bool = False
    quantizes: bool = False
    types: frozenset[int] | None = None


_ELEMENTWISE = (
    "Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Selu", "Celu",
    "Softplus", "Softsign", "Mish", "Gelu", "Swish", "Erf", "Exp", "Abs", "Sqrt", "Clip", "PRelu",
    "ThresholdedRelu",
)  # fmt: skip
_RANDOM = (
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial",
    "Bernoulli",
)  # fmt: skip
_QUANTIZED = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")
_TABLE: dict[str, Traits] = {
    **{op: Traits(random=True) for op in _RANDOM},
    **{op: Traits(quantizes=True) for op in _QUANTIZED},
    **{op: Traits(elementwise=True, channelwise=True) for op in _ELEMENTWISE},
    "MaxPool": Traits(channelwise=True),
    "LpPool": Traits(channelwise=True),
    "GlobalMaxPool": Traits(channelwise=True),
    "AveragePool": Traits(channelwise=True, averages=True, types=_NOT_DOUBLE),
    "GlobalAveragePool": Traits(channelwise=True, averages=True, types=_NOT_DOUBLE),
    "Conv": Traits(weighted=True, types=_NOT_DOUBLE),
    "ConvTranspose": Traits(weighted=True, types=_NOT_DOUBLE),
    "BatchNormalization": Traits(weighted=True, types=_FLOAT),
    "MatMul": Traits(weighted=True),
    "Gemm": Traits(weighted=True),
    "Pad": Traits(moves=(0,)),
    "ScatterND": Traits(moves=(0, 2)),
    "ScatterElements": Traits(moves=(0, 2)),
    "Transpose": Traits(moves=(0,)),
    "Slice": Traits(moves=(0,)),
    "Concat": Traits(moves=None),
    "Gather": Traits(moves=(0,)),
    "GatherND": Traits(moves=(0,)),
    "Reshape": Traits(moves=(0,)),
    "Identity": Traits(moves=(0,)),
    "Squeeze": Traits(moves=(0,)),
    "Unsqueeze": Traits(moves=(0,)),
    "Flatten": Traits(moves=(0,)),
    "Expand": Traits(moves=(0,)),
    "Tile": Traits(moves=(0,)),
    "Where": Traits(moves=(1, 2)),
}
_NONE = Traits()


def is_standard(domain: str | None) -> bool:
    """Whether a domain is ONNX's own, which has two names."""
    return domain in (None, "", "ai.onnx")


def traits(op: str, domain: str | None = "") -> Traits:
    """Traits of an operator; those of a custom domain have none, whatever they are called."""
    return _TABLE.get(op, _NONE) if is_standard(domain) else _NONE


def runs(op: str, dtype: int | None) -> bool:
    """Whether runtimes have the operator for an element type; an unknown one is float."""
    types = traits(op).types
    return types is None or dtype is None or dtype in types
