"""One model, from attempt to attempt, until all that was done to it can be shown to be right."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from onnx import ModelProto

from onnxac.graph.fixed import unmatched
from onnxac.graph.model import Model, from_proto
from onnxac.options import TYPES, Options
from onnxac.planning.statistics import foreign_info
from onnxac.report import (
    DIFFERENT,
    DROPPED,
    FAILS,
    Change,
    Equalization,
    Fusion,
    NodeRef,
    Quantization,
    Refusal,
    Report,
    Timing,
    Verification,
)
from onnxac.rounds import fused
from onnxac.simplifying.extents import fix_shapes, stays_open
from onnxac.storage.draft import Draft
from onnxac.storage.files import external_tensors, read, read_lazily, require_valid
from onnxac.tuned import Tuned, form_of, settle

# Runs of both models while changes are looked for that are to blame for a difference.
_MOST_RUNS = 64


class Job:
    """One model, from attempt to attempt, until all that was done can be shown to be right.

    draft   where the result is written, if it is
    single  it is to be one file
    stored  fused weights go to the draft at once, and need no memory
    """

    def __init__(
        self,
        original: Model,
        path: Path | None,
        options: Options,
        draft: Draft | None = None,
        *,
        single: bool = False,
        stored: bool = False,
    ) -> None:
        # What is proven against is the model as it came.
        self._given = path or original.proto
        self._original = fix_shapes(original, options.fix_shapes)
        self._path, self._options = path, options
        self._draft, self._single, self._stored = draft, single, stored
        self._fresh = True
        self._tuned = Tuned()
        self.result: ModelProto
        self.report: Report
        self.single = single
        tell_unmatched(original, options)
        for name in stays_open(self._original, options.shapes):
            extents = ",".join(map(str, options.shapes[name]))
            options.notice(
                f"{name} stays open: --shape is for the proof only; --fix-shape {name}:{extents} "
                "writes it into the model"
            )

    def settle(self) -> None:
        """Leave `result` and `report` of the attempt that holds."""
        dropped: tuple[Change, ...] = ()
        if self._options.tune:
            self._tune()
        if self._options.verify:
            dropped = self._proven(self._certified(frozenset()))
        else:
            self._attempt(frozenset())
        if self._options.to is not None:
            self._convert(TYPES[self._options.to])
        if self._draft is None:
            require_valid(self.result, "the result")
        refusals = (*self.report.refusals, *map(_dropped, dropped), *self._tuned.refusals)
        self.report = replace(
            self.report, refusals=refusals, fusions=self._tuned.told(self.report.fusions)
        )
        if self._options.ranges or self._options.equalize:
            self._options.progress("measuring")
            self.report = replace(self.report, quantization=self._measured())
        if self._options.latency:
            from onnxac.proof.running.latency import compare_latency

            self._options.progress("timing")
            found = compare_latency(*self._both(), shapes=self._shapes)
            self.report = replace(self.report, latency=found)

    def _attempt(self, without: frozenset[str]) -> tuple[ModelProto, Sequence[Change]]:
        """Rewrite without some changes; what comes back has its weights where `_folders` says."""
        options, draft = self._options, self._draft
        options.progress("merging")
        store = None
        if draft is not None:
            draft.restart()
            store = draft.store if self._stored else None
        if not self._fresh:
            # An attempt rewrites the graph that it is given.
            self._original = from_proto(self._original.proto, self._original.folder)
        self._fresh = False
        original = self._original
        forms = self._tuned.forms
        forms = replace(forms, without=without | forms.without)
        self.result, self.report = fused(original, self._path, options, store, forms)
        shown = self.result
        if draft is not None:
            self.single = draft.write(self.result, original.folder, single=self._single)
            if any(True for _ in external_tensors(self.result)):
                shown = read_lazily(draft.path)
        return shown, self.report.changes

    def _tune(self) -> None:
        """Measure what each change does, and leave out what is slower for it."""
        from onnxac.proof.tuning import timings

        known: dict[Hashable, Timing] = {}

        def measured(tuned: Tuned, keys: frozenset[str] | None) -> dict[str, tuple[Fusion, Timing]]:
            self._tuned = tuned
            shown, changes = self._attempt(frozenset())
            fusions = {c.key: c for c in changes if isinstance(c, Fusion)}
            chosen = fusions.keys() - tuned.times.keys() if keys is None else keys
            wanted = {k: c for k, c in fusions.items() if k in chosen}
            new = [c for c in wanted.values() if form_of(c) not in known]
            before, folders = self._original.proto, self._folders()
            tick = partial(self._options.progress, "tuning")
            found = timings(before, shown, new, folders, self._shapes, tick)
            known.update((form_of(wanted[k]), t) for k, t in found.items())
            told = {k: known.get(form_of(c)) for k, c in wanted.items()}
            return {k: (wanted[k], t) for k, t in told.items() if t is not None}

        self._tuned = settle(measured)

    def _certified(self, gone: frozenset[str]) -> tuple[Change, ...]:
        """Rewrite without some changes and those whose certificates fail; the latter."""
        from onnxac.proof.isolation import keep_what_holds

        tick = partial(self._options.progress, "certifying")
        kept = keep_what_holds(
            self._original.proto,
            lambda failed: self._attempt(gone | failed),
            self._folders(),
            tick,
        )
        self.report = telling(self.report, kept.changes)
        return kept.dropped

    def _folders(self) -> tuple[str, str]:
        before = "" if self._original.folder is None else str(self._original.folder)
        return before, before if self._draft is None else str(self._draft.path.parent)

    def _measured(self) -> Quantization:
        """How well what goes in and what comes out quantize."""
        from onnxac.quantizing import quantization

        before, after = (Path(f) for f in self._folders())
        options = self._options
        result = self.result if self._draft is None else read_lazily(self._draft.path)
        return quantization(
            (self._original.proto, before),
            (result, after),
            self.report.fusions,
            options.inputs,
            options.custom_ops,
        )

    def _both(self) -> tuple[ModelProto | Path, ModelProto | Path]:
        """What goes in and what comes out, as it can be run."""
        return self._given, self.result if self._draft is None else self._draft.path

    @property
    def _shapes(self) -> dict[str, Sequence[int]]:
        """Shapes that inputs are run at only."""
        return {**self._options.shapes, **self._options.fix_shapes}

    def _convert(self, precision: str) -> None:
        """Put the result into half precision, and prove that as well."""
        from onnxac.proof import Settings, raise_if_failed
        from onnxac.quantizing.half import to_half

        self._options.progress("converting")
        if self._draft is None:
            self.result = to_half(self.result, None)
        else:
            path = self._draft.path
            self.result = to_half(read(path), path.parent)
            self._draft.restart()
            self.single = self._draft.write(self.result, None, single=self._single)
        self.report = replace(self.report, after=foreign_info(self.result), precision=precision)
        if self._options.verify:
            found = self._verified(precision)
            raise_if_failed(found, (Settings.names[0], f"the model in {precision}"))
            self.report = replace(self.report, verification=found)

    def _proven(self, dropped: tuple[Change, ...]) -> tuple[Change, ...]:
        """Run both models. Where they differ, look for the changes that are to blame.

        Raises VerificationError where leaving some of them out does not help.
        """
        from onnxac.proof import raise_if_failed
        from onnxac.proof.isolation import culprits

        found = self._verified()
        if found.verdict == DIFFERENT:
            told = {c.key: c for c in self.report.changes}
            gone = frozenset(c.key for c in dropped)
            runs = 0

            def passes(left: frozenset[str]) -> bool:
                nonlocal runs
                runs += 1
                if runs > _MOST_RUNS:
                    raise_if_failed(found)
                self._attempt(gone | left)
                return self._verified().verdict != DIFFERENT

            if not told or not passes(frozenset(told)):
                raise_if_failed(found)
            blamed = culprits(list(told), passes)
            if len(blamed) == len(told) and self._options.tolerance is not None:
                # It is the tolerance that asks for too much, not one of the changes that is wrong.
                raise_if_failed(found)
            # In place of what is gone, other changes may have become possible.
            dropped += tuple(told[b] for b in sorted(blamed)) + self._certified(gone | blamed)
            found = self._verified()
            raise_if_failed(found, strict=False)
        self.report = replace(self.report, verification=found)
        return dropped

    def _verified(self, precision: str | None = None) -> Verification:
        # onnxruntime is not loaded before something has to be run.
        from onnxac.proof import Settings, verify

        options = self._options
        options.progress("proving")
        settings = Settings(
            seeds=options.seeds,
            shapes=self._shapes,
            inputs=options.inputs,
            custom_ops=options.custom_ops,
            tolerance=options.tolerance,
            precision=precision,
            timeout=options.timeout,
            tick=partial(options.progress, "proving"),
        )
        before, after = self._both()
        return verify(before, after, settings)


def telling(report: Report, changes: Sequence[Change]) -> Report:
    """The report with these changes."""
    return replace(
        report,
        fusions=tuple(c for c in changes if isinstance(c, Fusion)),
        equalizations=tuple(c for c in changes if isinstance(c, Equalization)),
    )


def _dropped(change: Change) -> Refusal:
    """How it is told that a change was left out."""
    certificate = change.certificate
    why = certificate.reason if certificate is not None and certificate.verdict == FAILS else None
    place = ""
    if isinstance(change, Fusion):
        node = change.removed[-1] if change.removed else NodeRef(change.output, "")
        place = change.place
    else:
        node = change.makers[0]
    return Refusal(
        node,
        DROPPED,
        f"{'merged' if isinstance(change, Fusion) else 'equalized'}, it did not compute the same "
        f"({why or 'the run of the whole models showed it'}), so it was left as it was; "
        "please report this",
        place,
    )


def tell_unmatched(original: Model, options: Options) -> None:
    """Tell of patterns of nodes to keep that name none."""
    for pattern in unmatched(original, options.keep):
        options.notice(f"no node has a name like {pattern!r}, which is to be kept")
