"""A value that is computed when somebody asks for it, and at most once.

The plan is made from shapes. Kernels that it tries and drops are never computed,
and a weight that nothing touches is never read from disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# Python's own recursion limit is 1,000 frames; each level of deferral takes two.
_MAX_DEPTH = 200


class Deferred(Generic[T]):
    """`Deferred(compute, *needs)()` is `compute()`, once.

    `needs` are the deferred values that `compute` will ask for. They bound the depth
    of the chain: past a limit they are computed at once, so that a thousand nodes in
    a row cannot overflow the stack.
    """

    __slots__ = ("_compute", "_depth", "_value")

    def __init__(self, compute: Callable[[], T], *needs: Deferred[Any]) -> None:
        self._compute: Callable[[], T] | None = compute
        self._value: T | None = None
        self._depth: int = 1 + max((n._depth for n in needs), default=0)
        if self._depth > _MAX_DEPTH:
            for need in needs:
                need()
            self._depth = 1

    def __call__(self) -> T:
        """The value; computed now, if it was not before."""
        if self._compute is not None:
            self._value = self._compute()
            self._compute = None
            self._depth = 0
        return self._value  # type: ignore[return-value]

    @staticmethod
    def of(value: T) -> Deferred[T]:
        """A value that is there already."""
        return Deferred(lambda: value)
