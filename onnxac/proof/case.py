"""The two models of a comparison, and what of the one is compared with what of the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from onnxac.errors import UsageError, VerificationError
from onnxac.proof.judging.identity import Likeness, Side
from onnxac.proof.judging.judge import Subject
from onnxac.proof.judging.ranges import range_of
from onnxac.proof.running.process import Pair
from onnxac.proof.running.signature import (
    Model,
    Port,
    Signature,
    read_model,
    read_signature,
    require_data,
)
from onnxac.proof.settings import Settings
from onnxac.storage.wire import is_large


@dataclass(frozen=True)
class Case:
    """The two models, and what of the one is compared with what of the other.

    inputs, outputs  names in the second model, by names in the first
    sources          the files, where the models were given as such
    """

    a: Side
    b: Side
    sources: tuple[Path | None, Path | None]
    signature: Signature
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    likeness: Likeness
    notes: tuple[str, ...]

    @staticmethod
    def of(before: Model, after: Model, settings: Settings) -> Case:
        """Read both models, and pair their inputs and outputs. Raises as `verify` does."""
        sides, sources = [], []
        for model in (before, after):
            path = None if isinstance(model, onnx.ModelProto) else Path(model)
            if path is not None and path.exists() and is_large(path):
                # What is left in a large file is named by the file's own name.
                path = path.resolve()
            proto = model if isinstance(model, onnx.ModelProto) else read_model(model)
            if path is None:
                require_data(proto)
            sources.append(path)
            sides.append(Side(proto, Path() if path is None else path.parent))
        first, second = (read_signature(s.model) for s in sides)
        names, notes = settings.names, list[str]()
        inputs = _paired("inputs", first.inputs, second.inputs, names, notes, {})
        outputs = _paired("outputs", first.outputs, second.outputs, names, notes, settings.mapping)
        a, b = sides
        likeness = Likeness(a, b)
        return Case(a, b, (sources[0], sources[1]), first, inputs, outputs, likeness, tuple(notes))

    @property
    def keeps_names(self) -> bool:
        """Whether inputs and outputs have the same names in both models: then others have, too."""
        return all(a == b for a, b in (*self.inputs.items(), *self.outputs.items()))

    def subjects(self, *, inside: bool) -> list[Subject]:
        """What is compared: the outputs in their order, and tensors `inside` if wanted."""
        outputs = list(self.outputs.items())
        further = dict.fromkeys(self._inside()) if inside else {}
        found: dict[str, Subject] = {}
        for a, b in (*outputs, *further):
            # A tensor of the first model may be compared with two of the second.
            name = a if a not in found else f"{a} and {b}"
            pair = Pair(a, b, range_of(self.a.model.graph, a))
            if pair not in [s.pair for s in found.values()]:
                found[name] = Subject(name, pair, inside=(a, b) not in outputs)
        return list(found.values())

    def _inside(self) -> Iterator[tuple[str, str]]:
        """Tensors inside that have to be equal as well."""
        aligned = self.likeness.aligned(self.outputs.items())
        if not self.keeps_names:
            # Where even the outputs have other names, no name is relied on.
            yield from aligned
            return
        inner = self.likeness.inner()
        yield from ((name, name) for name in inner)
        # What is computed in the same way from what is compared needs no comparison.
        known = self.likeness.equal([*self.outputs, *inner])
        yield from ((a, b) for a, b in aligned if a != b or b not in known)


def _paired(
    what: str,
    first: Sequence[Port],
    second: Sequence[Port],
    names: tuple[str, str],
    notes: list[str],
    mapping: Mapping[str, str],
) -> dict[str, str]:
    """Names in the second model by names in the first: as they are mapped, alike, or in place."""
    known = {p.name: p for p in second}
    for a, b in mapping.items():
        if a not in {p.name for p in first} or b not in known:
            raise UsageError(f"--map {a}={b}: {a!r} or {b!r} is none of the {what}")
    pairs = {p.name: mapping.get(p.name, p.name) for p in first}
    fits = len(first) == len(second) and sorted(pairs.values()) == sorted(known)
    if not fits and len(first) == len(second) and not mapping:
        pairs = {a.name: b.name for a, b in zip(first, second, strict=True)}
        fits = True
        other = ", ".join(f"{a} with {b}" for a, b in pairs.items() if a != b)
        notes.append(f"{what} are paired by their place, for their names differ: {other}")
    types = {p.name: p.type for p in first}
    if fits and all(types[a] == known[b].type for a, b in pairs.items()):
        return pairs
    listed = [
        ", ".join(f"{p.name} ({p.type})" for p in ports) or "none" for ports in (first, second)
    ]
    raise VerificationError(
        f"the {what} of {names[1]} are {listed[1]}; those of {names[0]} are {listed[0]}"
    )
