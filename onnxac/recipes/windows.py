"""A term as Conv or ConvTranspose: what stands in front of it, and the operator itself.

An operator's window pads with zeros, but neither crops nor reflects. So what an axis skips is cut
off by a Slice, or met by taps of weight zero, whichever is cheaper; other borders take a Pad.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxac.algebra import Axis, Lazy, Term
from onnxac.algebra.kernel import Array
from onnxac.recipes.cost import Cost, over_one_axis, transposed_cost, window_cost
from onnxac.recipes.site import Site
from onnxac.recipes.steps import FAR, Dims, Step, Weight, grown, padded, size, sliced


@dataclass(frozen=True)
class Window:
    """A convolution in the order of its operator: [batch, channels, spatial…].

    axes  geometry of the spatial axes
    ins   dims of what it reads; `outs` of what it makes
    """

    term: Term
    axes: tuple[Axis, ...]
    kernel: Lazy[Array]
    ins: Dims
    outs: Dims
    site: Site

    def with_unit(self, place: int) -> Window:
        """The same, over an axis of extent 1 too, which is at that place of its dims."""

        def put(dims: Dims) -> Dims:
            return (*dims[:place], 1, *dims[place:])

        return replace(
            self,
            axes=(*self.axes[: place - 2], Axis(), *self.axes[place - 2 :]),
            kernel=Lazy(lambda k: np.expand_dims(k, place), self.kernel),
            ins=put(self.ins),
            outs=put(self.outs),
        )

    @property
    def lengths(self) -> list[int | None]:
        """Extents of what it reads along the spatial axes, None where dynamic."""
        return [d if isinstance(d, int) else None for d in self.ins[2:]]

    def steps(self) -> list[Step] | None:
        """Slice and Pad as needed, then the operator; None where there is none."""
        beyond = any(a.reads_beyond(n) for a, n in zip(self.axes, self.lengths, strict=True))
        if self.term.fill is not None and beyond:
            return None
        if any(a.sampling for a in self.axes):
            return None
        if any(a.up > 1 for a in self.axes):
            step = self._transposed()
            return None if step is None else [step]
        if not self.site.runs("Conv"):
            return None
        wide, kernel = self._without_crop()
        moved = Cost(elements=size(self.ins) + size(self.outs), nodes=1)
        filled = self._cost(wide) + moved
        if wide != self.axes:
            cropped = self._cost(self.axes) + moved + Cost(elements=2 * size(self.ins), nodes=1)
            # An axis that is padded at its other end can't be cut first: too little may be left.
            mixed = any(
                min(a.pad_begin, a.pad_end) < 0 < max(a.pad_begin, a.pad_end) for a in self.axes
            )
            if not mixed and cropped.time < filled.time:
                cut, rest = self._cropped()
                return [cut, *replace(self, axes=rest, ins=cut.dims)._plain(rest, self.kernel)]
        return self._plain(wide, kernel)

    def _cost(self, axes: Sequence[Axis]) -> Cost:
        channels = self.term.channels
        assert channels is not None
        taps = math.prod(a.taps for a in axes)
        cost = window_cost(size(self.outs), (channels.out, channels.width), channels.group, taps)
        return over_one_axis(cost) if len(axes) == 1 and taps > 1 else cost

    def _plain(self, axes: tuple[Axis, ...], kernel: Lazy[Array]) -> list[Step]:
        """Pads of the modes that a Conv has not itself, and the Conv."""
        channels = self.term.channels
        assert channels is not None
        steps: list[Step] = []
        dims = self.ins
        beyond = [
            a.edge != "zero" and a.reads_beyond(n) for a, n in zip(axes, self.lengths, strict=True)
        ]
        for mode in dict.fromkeys(a.edge for a, x in zip(axes, beyond, strict=True) if x):
            amounts = [(0, 0), (0, 0)] + [
                (a.pad_begin, a.pad_end) if x and a.edge == mode else (0, 0)
                for a, x in zip(axes, beyond, strict=True)
            ]
            wider = grown(dims, amounts)
            steps.append(padded(dims, amounts, mode, wider, self.site.opset))
            dims = wider
        pads = [
            (0, 0) if x else (a.pad_begin, a.pad_end) for a, x in zip(axes, beyond, strict=True)
        ]
        attrs = {
            "dilations": [a.dilation for a in axes],
            "group": channels.group,
            "kernel_shape": [a.taps for a in axes],
            "pads": [b for b, _ in pads] + [e for _, e in pads],
            "strides": [a.stride for a in axes],
        }
        cost = self._cost(axes) + Cost(elements=size(dims) + size(self.outs), nodes=1)
        weight = Weight("weight", kernel)
        return [*steps, Step("Conv", self.outs, cost, attrs, (weight,), weighted=True)]

    def _without_crop(self) -> tuple[tuple[Axis, ...], Lazy[Array]]:
        """Axes that pad but do not crop (`Axis.without_crop`), and the kernel on them."""
        if all(a.pad_begin >= 0 and a.pad_end >= 0 for a in self.axes):
            return self.axes, self.kernel
        found = [a.without_crop(n) for a, n in zip(self.axes, self.lengths, strict=True)]
        axes = tuple(a for a, _, _ in found)
        if not any(b or e for _, b, e in found):
            return axes, self.kernel
        margin = [(0, 0), (0, 0), *((b, e) for _, b, e in found)]
        return axes, Lazy(lambda k: np.pad(k, margin), self.kernel)

    def _cropped(self) -> tuple[Step, tuple[Axis, ...]]:
        """A Slice that takes off what negative pads skip, and the axes without them."""
        cuts = [(max(-a.pad_begin, 0), max(-a.pad_end, 0)) for a in self.axes]
        bounds = {i + 2: (b, -e if e else FAR, 1) for i, (b, e) in enumerate(cuts) if b or e}
        dims = grown(self.ins, [(0, 0), (0, 0), *((-b, -e) for b, e in cuts)])
        rest = tuple(
            replace(a, offset=a.offset - b, extent=a.extent + b + e)
            for a, (b, e) in zip(self.axes, cuts, strict=True)
        )
        return sliced(bounds, dims, self.site.opset), rest

    def _transposed(self) -> Step | None:
        """The operator for a source that is spread out."""
        channels, axes = self.term.channels, self.axes
        assert channels is not None
        pads = [output_padding(a) for a in axes]
        if not all(pads) or not self.site.runs("ConvTranspose"):
            return None
        (out, width), group = (channels.out, channels.width), channels.group

        def stored(kernel: Array) -> Array:
            turned = np.flip(kernel, tuple(range(2, 2 + len(axes))))
            blocks = turned.reshape(group, out // group, width // group, *turned.shape[2:])
            return blocks.swapaxes(1, 2).reshape(width, out // group, *turned.shape[2:])

        attrs = {
            "dilations": [a.dilation for a in axes],
            "group": group,
            "kernel_shape": [a.taps for a in axes],
            "output_padding": [p[2] for p in pads if p],
            "pads": [p[0] for p in pads if p] + [p[1] for p in pads if p],
            "strides": [a.up for a in axes],
        }
        taps, up = math.prod(a.taps for a in axes), math.prod(a.up for a in axes)
        cost = transposed_cost(size(self.outs), (out, width), group, taps, up)
        cost += Cost(elements=size(self.ins) + size(self.outs), nodes=1)
        held = (Weight("weight", Lazy(stored, self.kernel)),)
        return Step("ConvTranspose", self.outs, cost, attrs, held, weighted=True)


def output_padding(axis: Axis) -> tuple[int, int, int] | None:
    """pad_begin, pad_end and output_padding of a ConvTranspose; None where it has none."""
    begin = axis.offset + axis.span
    end = axis.span - begin - axis.extent
    extra = max(-end, 0)
    # ONNX allows as much as the dilation, too; ONNX Runtime 1.32 does not.
    if axis.stride != 1 or begin < 0 or extra >= axis.up:
        return None
    return begin, end + extra, extra
