"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable

MINUS = "\u2212"


def count(value: int) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,}".replace("-", MINUS)


def short(value: int) -> str:
    """1234567 as 1.23 M."""
    return _scaled(value, 1000, ("", "k", "M", "G", "T", "P"))


def size(value: int) -> str:
    """Bytes as 1.23 MB, decimal as disks are sold."""
    return _scaled(value, 1000, ("B", "kB", "MB", "GB", "TB", "PB"))


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= step and power < len(units) - 1:
        value, power = value / step, power + 1
    digits = 0 if power == 0 else max(0, 2 - int(math.log10(max(abs(value), 1))))
    return f"{value:.{digits}f} {units[power]}".strip().replace("-", MINUS)


def percent(before: float, after: float) -> str:
    """The change from `before` to `after`, as "−70 %"; "±0" where there is none."""
    if before == after:
        return "±0"
    if before == 0:
        return "new"
    change = 100 * (after - before) / before
    # Near the whole, a digit more keeps what is left from looking like nothing.
    is_whole = abs(change) >= 10 and not 99 < abs(change) < 100
    text = f"{abs(change):.0f}" if is_whole else f"{math.floor(abs(change) * 10) / 10:.1f}"
    return f"{'+' if change > 0 else MINUS}{text} %"


def difference(before: int, after: int) -> str:
    """The change from `before` to `after` with its sign."""
    return "±0" if before == after else f"{'+' if after > before else MINUS}{abs(after - before):,}"


def magnitude(value: float) -> str:
    """A small error, rounded up to two digits so that it is never understated: 3.1e-7."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    power = math.floor(math.log10(abs(value)))
    digits = math.ceil(round(abs(value) / 10.0**power * 10, 9))
    if digits == 100:
        digits, power = 10, power + 1
    return f"{digits / 10:g}e{power}"


def plain(value: float) -> str:
    """A number of any size to three digits."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e+")


def extent(values: Iterable[int]) -> str:
    """Sizes along the axes: 3×3."""
    return "×".join(str(v) for v in values) or "1"


def plural(number: int, noun: str) -> str:
    """1 node, 2 nodes; 2 branches, 2 entries."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{count(number)} {noun[:-1]}ies"
    return f"{count(number)} {noun}{'es' if noun.endswith('ch') else 's'}"
