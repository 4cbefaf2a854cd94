"""Once through the rooms: from a model that was read to one that can be tried, with its account.

The one place that knows the order of the stages. What each requires and ensures says the
docstring of its room.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from pathlib import Path

from onnx import ModelProto

import onnxac
from onnxac.equalizing import Equalized, Request, equalize
from onnxac.graph.fixed import fixed
from onnxac.graph.model import Model, Store, assemble
from onnxac.inference.facts import Facts
from onnxac.options import Options
from onnxac.planning.plan import make_plan
from onnxac.planning.statistics import digest_of, model_info
from onnxac.planning.survey import survey, untouched
from onnxac.reordering.order import reorder
from onnxac.report import Report
from onnxac.rewriting import changes as account
from onnxac.rewriting.rewrite import Rewriter
from onnxac.simplifying import join_reshapes, settle_operands, share_constants, simplify


def fused(
    original: Model,
    path: Path | None,
    options: Options,
    store: Store | None,
    without: frozenset[str],
) -> tuple[ModelProto, Report]:
    """The model that comes of it, not yet tried, and the account of what was done.

    original  is rewritten, and of no use afterwards
    path      where it was read from
    store     takes fused weights, so that they need no memory
    without   changes to leave out, by their keys
    """
    facts = Facts(original, freeze=options.freeze_initializers, dequantize=options.dequantize)
    stay = fixed(original, options.keep)
    gone = simplify(original, facts, stay)
    left = untouched(original, facts, stay)
    moved = reorder(original, facts, stay, left, without, options.without)
    seen = survey(original, stay, left, moved, options.without)
    roll = account.Roll(original)
    plan = make_plan(seen.definitions, seen.costs, seen.pinned, seen.named, seen.prices)
    applied = Rewriter(original, seen.facts, seen.folding).apply(
        plan, without, partial(options.progress, "merging")
    )
    settled = settle_operands(original, seen.facts, stay.named, stay.kept)
    joined = join_reshapes(original, seen.facts, stay.named, stay.kept, applied.dims)
    applied.follow(joined.stands, original.graph.nodes)
    fusions = account.fusions(roll, applied, seen.kinds)
    share_constants(original.graph, seen.facts)
    equalized = Equalized()
    if options.equalize:
        request = Request(options.exact_factors, stay.named, stay.kept, without)
        equalized = equalize(original, seen.facts, applied.dims, request)
    freeze, false = options.freeze_initializers, facts.misstated()
    result = assemble(original, freeze=freeze, store=store, misstated=false)
    return result, Report(
        before=model_info(
            original.proto,
            seen.facts,
            digest_of(original.proto if path is None else path),
            None if path is None else str(path),
        ),
        # Hashed when it is clear in which form it is handed on.
        after=model_info(result, seen.facts, digest="", added={**applied.dims, **equalized.shapes}),
        fusions=fusions,
        equalizations=tuple(equalized.changes),
        refusals=(
            *account.refusals(roll, seen.definitions, [*seen.blocked, *applied.blocked]),
            *equalized.refusals,
        ),
        folded=gone.inside + len(applied.removed) - sum(len(f.removed) for f in fusions),
        idle=len(gone.idle) + len(settled) + sum(map(roll.knows, joined.gone)),
        repeated=len(gone.repeated),
        verification=None,
        tools=tools(),
        command=options.command,
    )


def tools() -> dict[str, str]:
    """Versions of onnxac and of the packages whose behaviour it depends on."""
    names = ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy")
    return {"onnxac": onnxac.__version__, **{n: version(n) for n in names}}
