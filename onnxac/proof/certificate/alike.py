"""Changes that are one another's copies: the same parts over the same weights, by other names.

Networks share weights: one head at several places is one change, made several times. What holds
for one of them holds for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnxac.proof.certificate.cut import Cut, Part
from onnxac.report import Certificate, CertifiedSource

Shapes = Mapping[str, Sequence[int | None]]


@dataclass
class _Alike:
    """Certificates of changes that differ in their weights at most.

    unread  those whose weights were not needed so far
    read    the others, by their weights
    """

    unread: list[tuple[Cut, Certificate]] = field(default_factory=list)
    read: dict[bytes, tuple[Cut, Certificate]] = field(default_factory=dict)


@dataclass
class Known:
    """Certificates that hold, by what they are of.

    Weights are read only where a change looks like an earlier one, and of each change once more
    than it is judged: not again for every other one.
    """

    _forms: dict[bytes, _Alike] = field(default_factory=dict)

    def of(self, cut: Cut, shapes: Shapes) -> Certificate | None:
        """The certificate of an earlier change that is the same as this one, under its names."""
        names = self._names(cut)
        alike = self._forms.get(self._form(cut, names, shapes))
        if alike is None:
            return None
        for other, made in alike.unread:
            alike.read.setdefault(self._values(other, self._names(other)), (other, made))
        alike.unread.clear()
        found = alike.read.get(self._values(cut, names))
        if found is None:
            return None
        other, made = found
        own, theirs = {number: name for name, number in names.items()}, self._names(other)
        return _renamed(made, {n: own[theirs[n]] for n in other.sources})

    def note(self, cut: Cut, shapes: Shapes, made: Certificate) -> None:
        """Remember a certificate, if it holds."""
        if made.holds:
            form = self._form(cut, self._names(cut), shapes)
            self._forms.setdefault(form, _Alike()).unread.append((cut, made))

    @staticmethod
    def _names(cut: Cut) -> dict[str, int]:
        """A number for each tensor, in the order in which the two sides speak of them."""
        spoken = [n for side in (cut.before, cut.after) for n in _spoken(side)]
        return {n: i for i, n in enumerate(dict.fromkeys([*cut.targets, *spoken, *cut.sources]))}

    @staticmethod
    def _form(cut: Cut, names: Mapping[str, int], shapes: Shapes) -> bytes:
        """Everything but the values of initializers."""
        found = hashlib.sha256(repr([names[t] for t in cut.targets]).encode())
        for source in sorted(cut.sources, key=names.__getitem__):
            found.update(repr((names[source], list(shapes[source]))).encode())
        for part in (cut.before, cut.after):
            found.update(repr(part.opset).encode())
            for node in part.nodes:
                ends = [[names[n] for n in side] for side in (node.input, node.output)]
                found.update(repr((node.domain, node.op_type, ends)).encode())
                for attribute in sorted(node.attribute, key=lambda a: a.name):
                    found.update(attribute.SerializeToString(deterministic=True))
        return found.digest()

    @staticmethod
    def _values(cut: Cut, names: Mapping[str, int]) -> bytes:
        """The initializers of both sides: which tensor, of which type, what bytes."""
        found = hashlib.sha256()
        for index, part in enumerate((cut.before, cut.after)):
            for name in dict.fromkeys(_spoken(part)):
                if name in part.stored and name not in cut.sources:
                    array = part.value(name)
                    head = (names[name], index, array.dtype.str, array.dtype.name, array.shape)
                    found.update(repr(head).encode() + array.tobytes())
        return found.digest()


def _spoken(part: Part) -> list[str]:
    return [name for node in part.nodes for name in (*node.input, *node.output)]


def _renamed(made: Certificate, names: Mapping[str, str]) -> Certificate:
    sources = sorted(
        (CertifiedSource(names[s.name], s.shapes, s.least) for s in made.sources),
        key=lambda s: s.name,
    )
    # Nothing was computed for it.
    return replace(made, sources=tuple(sources), elements=0)
