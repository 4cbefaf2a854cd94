"""A value that is computed when somebody asks for it.

The plan is made from shapes. Kernels that it tries and drops are never computed, and a weight
that nothing touches is never read from disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")

# Arrays of at most this many elements stay with their value: biases, which the plan asks for
# again and again. A kernel is larger, and is kept only as long as `remembering` says.
_SMALL = 1024

_memory: ContextVar[dict[Lazy[Any], Any] | None] = ContextVar("lazy values", default=None)


class Lazy(Generic[T]):
    """`Lazy(compute, *needs)()` is `compute(*(need() for need in needs))`.

    `needs` are themselves lazy. They are evaluated in a loop, not by recursion, so that a
    thousand nodes in a row can't overflow the stack.
    """

    __slots__ = ("_compute", "_kept", "_needs")

    def __init__(self, compute: Callable[..., T], *needs: Lazy[Any]) -> None:
        self._compute, self._needs = compute, needs
        self._kept: list[T] = []

    def __call__(self) -> T:
        """The value; computed now, if it is not remembered."""
        if self._kept:
            return self._kept[0]
        memory = _memory.get()
        found: dict[Lazy[Any], Any] = {} if memory is None else memory
        waiting: list[Lazy[Any]] = [self]
        while waiting:
            top = waiting[-1]
            if top._kept or top in found:
                waiting.pop()
                continue
            missing = [n for n in top._needs if not n._kept and n not in found]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            value = top._compute(*(n._kept[0] if n._kept else found[n] for n in top._needs))
            if np.size(value) <= _SMALL:
                top._kept.append(value)
            else:
                found[top] = value
        return self._kept[0] if self._kept else found[self]

    @staticmethod
    def of(value: T) -> Lazy[T]:
        """A value that is there already."""
        made: Lazy[T] = Lazy(lambda: value)
        made._kept.append(value)
        return made


@contextmanager
def remembering() -> Iterator[None]:
    """What is computed inside of the block is computed once, and forgotten at its end."""
    token = _memory.set({})
    try:
        yield
    finally:
        _memory.reset(token)
