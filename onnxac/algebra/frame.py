"""Axis orders. A frame is a permutation as Transpose takes it; None is the identity."""

from __future__ import annotations

Perm = tuple[int, ...]


def then(first: Perm | None, second: Perm | None) -> Perm | None:
    """The permutation that transposes by `first`, and then by `second`."""
    if first is None or second is None:
        return second if first is None else first
    return plain(tuple(first[i] for i in second))


def inverse(perm: Perm | None) -> Perm | None:
    """The permutation that undoes `perm`."""
    if perm is None:
        return None
    return tuple(perm.index(i) for i in range(len(perm)))


def plain(perm: Perm) -> Perm | None:
    """None for a permutation that changes nothing."""
    return None if perm == tuple(range(len(perm))) else perm


def layout_before(layout: int, perm: Perm) -> int:
    """Axes behind the channel axis before a transposition, given those behind it after."""
    return len(perm) - 1 - perm[len(perm) - 1 - layout]


def layout_after(layout: int, perm: Perm) -> int:
    """Axes behind the channel axis after a transposition, given those behind it before."""
    return len(perm) - 1 - perm.index(len(perm) - 1 - layout)
