"""What factors scale: weights, and constants that are added to channels."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxac.equalizing.channels import Slots, Values
from onnxac.equalizing.spread import Spread
from onnxac.equalizing.weighted import Floats, Form


@dataclass(frozen=True)
class Weight:
    """An operator with a weight.

    largest  over the taps of the weight, [groups, outputs of a group, inputs of a group]
    energy   sum of squares over the taps, of the same shape
    taps     how many there are
    rank     number of axes of the weight as it is stored
    source   what the input channels are likely to hold
    columns  slots of the input channels, None where these have no factor
    rows     slots of the output channels
    """

    node: gs.Node
    form: Form
    largest: Floats
    energy: Floats
    taps: int
    rank: int
    source: Spread
    columns: Slots | None
    rows: Slots | None


@dataclass(frozen=True)
class Offset:
    """A constant that is added to channels, or subtracted: it is divided as they are.

    index  which input of the node it is
    axis   the axis of the channels, counted from the end: -1 is the last
    """

    node: gs.Node
    index: int
    values: Values
    axis: int
    slots: Slots
