"""How well a model quantizes, for the terminal: the widest ranges, and what made them wider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.text import Text

from onnxac.render import numbers
from onnxac.render.columns import Column, Columns, item
from onnxac.render.safe import one_line
from onnxac.render.words import node_name
from onnxac.report import Quantization, Report, Widened


def ranges(report: Report) -> Iterator[RenderableType]:
    """The ten weights with the widest ranges, the ten tensors, and warnings."""
    found = report.quantization
    if found is None:
        return
    yield Text()
    yield Text(headline(found), "bold")
    if found.after.worst:
        yield Text()
        yield _weights(found)
    if found.after.activations:
        yield Text()
        names = {t.after: t.before for c in report.equalizations for t in c.tensors}
        yield _activations(found, names)
    yield from (item(warning(w), "yellow") for w in found.widened)


def headline(found: Quantization) -> str:
    """The widest range of a weight, before and after."""
    sides = (found.before, found.after)
    before, after = (f"{max((w.ratio for w in s.weights), default=0.0):.3g}" for s in sides)
    count = numbers.plural(len(found.after.weights), "weight")
    return f"Ranges of {count}: the widest is {before} → {after} times its rms"


def warning(widened: Widened) -> str:
    """Where merging made a range wider, and what can be done."""
    own = ", ".join(f"{b:.3g}" for b in widened.branches)
    return (
        f"merged, {node_name(widened.node)} has a range of {widened.ratio:.3g} times its rms, "
        f"its branches had {own}; --equalize evens it out"
    )


def _weights(found: Quantization) -> Columns:
    table = Columns(
        (
            Column("  max/rms", right=True, style="bold"),
            Column("per channel", right=True),
            Column("weight of", names=True),
        )
    )
    for weight in found.after.worst:
        widest = max(weight.channels, default=0.0)
        table.add(f"  {weight.ratio:.3g}", f"{widest:.3g}", node_name(weight.node))
    return table


def _activations(found: Quantization, names: Mapping[str, str]) -> Columns:
    before = {a.tensor: a.ratio for a in found.before.activations}
    table = Columns(
        (
            Column("  widest/mean", right=True, style="bold"),
            Column("before", right=True),
            Column("low", right=True),
            Column("high", right=True),
            Column("channels of", names=True),
        )
    )
    for own in found.after.worst_activations:
        old = before.get(names.get(own.tensor, own.tensor))
        table.add(
            f"  {own.ratio:.3g}",
            "" if old is None else f"{old:.3g}",
            f"{min(own.low):.3g}",
            f"{max(own.high):.3g}",
            one_line(own.tensor),
        )
    return table
