"""One bad change does not cost the others: which ones to leave out, and what is left.

Both functions take the rewrite as a function of the changes to leave out, by their keys. They know
nothing of how it is done, only that leaving out more is always possible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onnx import ModelProto

from onnxac.proof.certificate import certify
from onnxac.proof.settings import Tick, untold
from onnxac.report import FAILS, Change, Equalization

Rewrite = Callable[[frozenset[str]], tuple[ModelProto, Sequence[Change]]]


@dataclass(frozen=True)
class Kept:
    """What is left when the changes that don't hold are left out.

    changes  of `model`, each with its certificate
    dropped  what was left out, each with the certificate that it failed
    """

    model: ModelProto
    changes: tuple[Change, ...]
    dropped: tuple[Change, ...]


def with_certificates(
    before: ModelProto,
    after: ModelProto,
    changes: Sequence[Change],
    folders: tuple[str, str] = ("", ""),
    tick: Tick = untold,
) -> tuple[Change, ...]:
    """The changes that made `after` of `before`, each with its certificate."""
    found = certify(before, after, changes, folders, tick)
    return tuple(replace(f, certificate=c) for f, c in zip(changes, found, strict=True))


def keep_what_holds(
    before: ModelProto,
    rewrite: Rewrite,
    folders: tuple[str, str] = ("", ""),
    tick: Tick = untold,
) -> Kept:
    """Rewrite, certify, and rewrite again without what failed, until nothing fails.

    rewrite  the model and its changes, without those of the given keys
    folders  where external data of the model before and after lies
    tick     is told how many certificates of how many are made
    """
    dropped: dict[str, Change] = {}
    while True:
        model, changes = rewrite(frozenset(dropped))
        told = with_certificates(before, model, changes, folders, tick)
        failed = {c.key: c for c in told if c.certificate and c.certificate.verdict == FAILS}
        # Factors stand on what was merged: without them, that may hold.
        if any(isinstance(c, Equalization) for c in failed.values()):
            failed = {k: c for k, c in failed.items() if isinstance(c, Equalization)}
        # What comes back though it was left out can't be helped by asking again.
        if not failed.keys() - dropped.keys():
            return Kept(model, told, tuple(dropped.values()))
        dropped |= failed


def culprits(changes: Sequence[str], passes: Callable[[frozenset[str]], bool]) -> frozenset[str]:
    """The changes to leave out for the whole model to pass, found by halving.

    changes  keys of all changes, in graph order
    passes   whether the model made without the given changes passes

    Each one found takes about log₂ of their number of runs. Where the model does not even pass
    without any change, all of them are returned.
    """
    found: set[str] = set()
    while not passes(frozenset(found)):
        left = [c for c in changes if c not in found]
        if not left:
            break
        # The shortest beginning that fails ends in one that is to blame.
        low, high = 0, len(left)
        while high - low > 1:
            middle = (low + high) // 2
            if passes(frozenset(found) | frozenset(left[middle:])):
                low = middle
            else:
                high = middle
        found.add(left[high - 1])
    return frozenset(found)
