"""Once through the rooms: from a model that was read to one that can be tried, with its account.

The one place that knows the order of the stages. What each requires and ensures says the
docstring of its room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from onnx import ModelProto

import onnxac
from onnxac.forms import Forms
from onnxac.graph.fixed import Fixed, fixed
from onnxac.graph.model import Model, Store, assemble
from onnxac.inference.dims import Shape
from onnxac.inference.facts import Facts
from onnxac.options import Options
from onnxac.planning.plan import make_plan
from onnxac.planning.statistics import digest_of, model_info
from onnxac.planning.survey import survey, untouched
from onnxac.reordering.order import reorder
from onnxac.report import Equalization, Fusion, Refusal, Report
from onnxac.rewriting import changes as account
from onnxac.rewriting.rewrite import Rewriter
from onnxac.scopes import Look, Scope, opened
from onnxac.simplifying import (
    join_reshapes,
    settle_operands,
    share_constants,
    simplify,
    without_conditions,
    without_sequences,
)

if TYPE_CHECKING:
    from onnxac.equalizing import Equalized


def fused(
    original: Model,
    path: Path | None,
    options: Options,
    store: Store | None,
    forms: Forms,
) -> tuple[ModelProto, Report]:
    """The model that comes of it, not yet tried, and the account of what was done.

    original  is rewritten, and of no use afterwards
    path      where it was read from
    store     takes fused weights, so that they need no memory
    forms     what is written otherwise than the cost model would have it
    """
    look = partial(Facts, freeze=options.freeze_initializers, dequantize=options.dequantize)
    model, facts = _plain(original, look, options.keep)
    model.reserved, model.exact = original.reserved, original.exact
    undone = max(len(original.proto.graph.node) - len(model.proto.graph.node), 0)
    scopes = opened(model, facts, look)
    parts = [_merged(s, options, store if s.model is model else None, forms) for s in scopes]
    main = parts[-1]
    return main.result, Report(
        before=model_info(
            original.proto,
            main.facts,
            digest_of(original.proto if path is None else path),
            None if path is None else str(path),
        ),
        # Hashed when it is clear in which form it is handed on.
        after=model_info(main.result, main.facts, digest="", added=main.dims),
        fusions=tuple(f for p in parts[::-1] for f in p.fusions),
        equalizations=main.equalizations,
        refusals=tuple(r for p in parts[::-1] for r in p.refusals),
        folded=sum(p.folded for p in parts),
        idle=sum(p.idle for p in parts) + undone,
        repeated=sum(p.repeated for p in parts),
        verification=None,
        tools=tools(),
        command=options.command,
    )


def _plain(model: Model, look: Look, keep: Sequence[str]) -> tuple[Model, Facts]:
    """The model without what hides shapes, and what is known of it."""
    facts = look(model)
    while True:
        kept = fixed(model, keep).kept
        plain = without_conditions(model, facts, kept) or without_sequences(model, facts, kept)
        if plain is None:
            return model, facts
        model, facts = plain, look(plain)


@dataclass(frozen=True)
class _Part:
    """What was done to one graph of a file. `dims` are of what new nodes make, by name."""

    result: ModelProto
    facts: Facts
    dims: dict[str, Shape]
    fusions: tuple[Fusion, ...]
    equalizations: tuple[Equalization, ...]
    refusals: tuple[Refusal, ...]
    folded: int
    idle: int
    repeated: int


def _merged(
    scope: Scope,
    options: Options,
    store: Store | None,
    forms: Forms,
) -> _Part:
    """Take one graph through all stages, and put it in its place."""
    model, facts, place = scope.model, scope.facts, scope.place
    forms = forms.within(place)
    without = forms.without
    stay = fixed(model, options.keep)
    gone = simplify(model, facts, stay)
    left = untouched(model, facts, stay)
    moved = reorder(model, facts, stay, left, without, options.without, forms.tries)
    seen = survey(model, stay, left, moved, options.without)
    roll = account.Roll(model, place)
    plan = make_plan(
        seen.definitions, seen.costs, seen.pinned, seen.named, seen.prices, forms.tries
    )
    applied = Rewriter(model, seen.facts, seen.folding).apply(
        plan, without, forms.swapped, partial(options.progress, "merging")
    )
    settled = settle_operands(model, seen.facts, stay.named, stay.kept)
    joined = join_reshapes(model, seen.facts, stay.named, stay.kept, applied.dims)
    applied.follow(joined.stands, model.graph.nodes)
    fusions = account.fusions(roll, applied, seen.kinds)
    share_constants(model.graph, seen.facts)
    as_it_is = partial(
        assemble, model, freeze=options.freeze_initializers, misstated=facts.misstated()
    )
    refused = account.refusals(roll, seen.definitions, [*seen.blocked, *applied.blocked])
    dims, equalizations = dict(applied.dims), tuple[Equalization, ...]()
    if options.equalize and not place:
        equalized = _equalized(model, seen.facts, dims, stay, options, without, as_it_is)
        dims |= equalized.shapes
        equalizations, refused = tuple(equalized.changes), (*refused, *equalized.refusals)
    part = _Part(
        result=as_it_is(store=store),
        facts=seen.facts,
        dims=dims,
        fusions=fusions,
        equalizations=equalizations,
        refusals=refused,
        folded=len(applied.removed) - sum(len(f.removed) for f in fusions),
        idle=len(gone.idle) + len(settled) + sum(map(roll.knows, joined.gone)),
        repeated=len(gone.repeated),
    )
    if place and (scope.stale or part.fusions or part.folded + part.idle + part.repeated):
        scope.put(part.result.graph)
    return part


def _equalized(
    model: Model,
    facts: Facts,
    added: Mapping[str, Shape],
    stay: Fixed,
    options: Options,
    without: frozenset[str],
    make: Callable[[], ModelProto],
) -> Equalized:
    """Give channels ranges that are alike, by rooms that are opened for the few who ask."""
    from onnxac.equalizing import Request, equalize
    from onnxac.quantizing import least_noisy

    judge = partial(least_noisy, make, model.folder, options)
    request = Request(options.exact_factors, stay.named, stay.kept, judge, without)
    return equalize(model, facts, added, request)


def tools() -> dict[str, str]:
    """Versions of onnxac and of the packages whose behaviour it depends on."""
    names = ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy")
    return {"onnxac": onnxac.__version__, **{n: version(n) for n in names}}
