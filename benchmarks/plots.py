"""The plots of the benchmark, as SVG, and what they and the tables share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

ONNXAC, UNPROVEN, DEPLOY = "onnxac", "onnxac --no-verify", "deploy"
PEERS = ("onnxsim", "onnxslim", "onnxoptimizer", "onnxscript", "onnxruntime")
TOOLS = (ONNXAC, UNPROVEN, *PEERS)
COLOURS = {
    ONNXAC: "#c2410c",
    UNPROVEN: "#f59e0b",
    "onnxsim": "#2563eb",
    "onnxslim": "#059669",
    "onnxoptimizer": "#7c3aed",
    "onnxscript": "#db2777",
    "onnxruntime": "#64748b",
    DEPLOY: "#111827",
}
Result = Mapping[str, Any]


def ratio(network: Result, engine: str, label: str) -> float | None:
    """The input's time of an inference over another's: above 1 that one is faster."""
    times = network["latency"][engine]
    if "median" not in times.get(label, {}) or "median" not in times["input"]:
        return None
    return float(times["input"]["median"] / times[label]["median"])


def measured(results: Result) -> list[Result]:
    """The networks that were measured; a run may have failed on one."""
    return [n for n in results["networks"] if "failure" not in n]


class Picture:
    """An SVG, one element after another."""

    def __init__(self, width: float, height: float) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            'font-family="system-ui, sans-serif" font-size="12">',
            f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        ]

    def text(
        self, x: float, y: float, said: str, anchor: str = "start", fill: str = "#374151"
    ) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">'
            f"{escape(said)}</text>"
        )

    def line(self, points: Sequence[tuple[float, float]], stroke: str, width: float = 1) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}"/>'
        )

    def dot(self, x: float, y: float, radius: float, fill: str, *, hollow: bool = False) -> None:
        look = f'fill="none" stroke="{fill}" stroke-width="2"' if hollow else f'fill="{fill}"'
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" {look}/>')

    def legend(self, x: float, y: float, labels: Sequence[str]) -> None:
        for label in labels:
            self.dot(x, y - 4, 5, COLOURS[label], hollow=label == DEPLOY)
            self.text(x + 9, y, label)
            x += 24 + 7 * len(label)

    def __str__(self) -> str:
        return "\n".join([*self.parts, "</svg>"]) + "\n"


def speedup_picture(networks: Sequence[Result]) -> Picture:
    """A row for each network, a dot for each tool, at the speed-up of what it makes."""
    left, right, step, top = 130.0, 690.0, 26.0, 50.0
    labels = (*PEERS, DEPLOY, ONNXAC)
    values = [r for n in networks for t in labels if (r := ratio(n, "1 thread", t)) is not None]
    low, high = min([0.8, *values]), max([2.0, *values]) * 1.05
    picture = Picture(720, top + step * len(networks) + 40)

    def place(value: float) -> float:
        return left + (right - left) * math.log(value / low) / math.log(high / low)

    bottom = top + step * len(networks)
    for tick in (0.5, 1, 2, 3, 4, 6, 8, 12, 16):
        if low <= tick <= high:
            picture.line(
                [(place(tick), top), (place(tick), bottom)], "#e5e7eb" if tick != 1 else "#9ca3af"
            )
            picture.text(place(tick), bottom + 16, f"{tick:g}×", "middle")
    picture.text(
        (left + right) / 2,
        bottom + 34,
        "speed-up over the export, ONNX Runtime, 1 thread",
        "middle",
    )
    picture.legend(20, 24, (ONNXAC, DEPLOY, *PEERS))
    for row, network in enumerate(networks):
        y = top + step * (row + 0.5)
        picture.text(left - 10, y + 4, network["name"], "end")
        for label in labels:
            value = ratio(network, "1 thread", label)
            if value is not None:
                size = 6 if label == ONNXAC else 8 if label == DEPLOY else 4
                picture.dot(place(value), y, size, COLOURS[label], hollow=label == DEPLOY)
    return picture


def growth_picture(lengths: Sequence[Result]) -> Picture:
    """Seconds of each tool over nodes, both by powers of ten."""
    left, right, top, bottom = 60.0, 700.0, 50.0, 360.0
    picture = Picture(720, 410)
    found = {
        t: [
            (n["nodes"], n["tools"][t]["seconds"]["median"])
            for n in lengths
            if "seconds" in n["tools"].get(t, {})
        ]
        for t in TOOLS
    }
    xs = [x for points in found.values() for x, _ in points] or [1, 10]
    ys = [y for points in found.values() for _, y in points] or [1, 10]
    spans = (min(xs), max(*xs, 2 * min(xs))), (min(ys) / 1.2, max(ys) * 1.2)

    def place(x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = spans
        return (
            left + (right - left) * math.log(x / x0) / math.log(x1 / x0),
            bottom - (bottom - top) * math.log(y / y0) / math.log(y1 / y0),
        )

    for power in range(-2, 6):
        for value in (10.0**power, 3 * 10.0**power):
            if spans[1][0] <= value <= spans[1][1]:
                y = place(spans[0][0], value)[1]
                picture.line([(left, y), (right, y)], "#e5e7eb")
                picture.text(left - 8, y + 4, f"{value:g} s", "end")
            if spans[0][0] <= value <= spans[0][1]:
                picture.text(place(value, spans[1][0])[0], bottom + 18, f"{value:,.0f}", "middle")
    picture.text((left + right) / 2, bottom + 40, "nodes of the graph", "middle")
    picture.legend(20, 24, TOOLS)
    for tool, points in found.items():
        at = [place(x, y) for x, y in points]
        picture.line(at, COLOURS[tool], 3 if tool in (ONNXAC, UNPROVEN) else 1.5)
        for x, y in at:
            picture.dot(x, y, 3, COLOURS[tool])
    return picture


def pictures(results: Result) -> dict[str, str]:
    """The plots, by their files' names."""
    drawn = {"speedup.svg": str(speedup_picture(measured(results)))}
    if results["chains"]:
        drawn["growth.svg"] = str(growth_picture(results["chains"]))
    return drawn
