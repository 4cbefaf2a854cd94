"""Make the tables and the plots of what `compare.py` measured: nothing here is typed by hand.

    python benchmarks/figures.py [results.json] [--print]

Prints all of it, or writes docs/measured/speedup.svg and growth.svg, and what stands between
`<!-- networks -->` and `<!-- end networks -->` in docs/benchmarks.md (all of it) and, of a run that
was not a short one, in README.md (the picture and ten rows).
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
PICTURES = Path("docs/measured")
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
NONE = "–"
Result = Mapping[str, Any]


# Numbers.


def ratio(network: Result, engine: str, label: str) -> float | None:
    """The input's time of an inference over another's: above 1 that one is faster."""
    times = network["latency"][engine]
    if "median" not in times.get(label, {}) or "median" not in times["input"]:
        return None
    return float(times["input"]["median"] / times[label]["median"])


def two(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def range_of(figure: Result, digits: int) -> str:
    """A median, and from where to where it went if there was more than one."""
    middle = f"{figure['median']:.{digits}f}"
    if figure["low"] == figure["high"]:
        return middle
    return f"{middle} ({figure['low']:.{digits}f}–{figure['high']:.{digits}f})"


def of_tool(network: Result, tool: str, key: str, digits: int) -> str:
    found = network["tools"].get(tool, {})
    if key not in found:
        return found.get("failure", NONE)[:24]
    if key == "bytes":
        return f"{found[key] / 1e6:.2f}"
    return f"{found[key]:,}" if key == "nodes" else range_of(found[key], digits)


# Tables.


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def short(networks: Sequence[Result]) -> Iterator[str]:
    """Ten rows for the README: speed-up of the output, and what the tool took."""
    heads = ["network", "nodes", *(f"speed-up: {t}" for t in (ONNXAC, *PEERS)), "deploy form"]
    rows = [
        [
            n["name"],
            f"{n['nodes']:,} → {of_tool(n, UNPROVEN, 'nodes', 0)}",
            *(two(ratio(n, "1 thread", t)) for t in (ONNXAC, *PEERS, DEPLOY)),
        ]
        for n in networks[:10]
    ]
    yield from table(heads, rows)


def speeds(networks: Sequence[Result], engine: str, labels: Sequence[str]) -> Iterator[str]:
    rows = [
        [n["name"], time_of(n, engine), *(two(ratio(n, engine, t)) for t in labels)]
        for n in networks
    ]
    yield from table(["network", "input, ms", *labels], rows)


def time_of(network: Result, engine: str) -> str:
    found = network["latency"][engine]["input"]
    if "median" not in found:
        return NONE
    return f"{found['median']:.2f} ({found['low']:.2f}–{found['high']:.2f})"


def costs(networks: Sequence[Result], key: str, digits: int) -> Iterator[str]:
    rows = [[n["name"], *(of_tool(n, t, key, digits) for t in TOOLS)] for n in networks]
    yield from table(["network", *TOOLS], rows)


def growth(lengths: Sequence[Result]) -> Iterator[str]:
    rows = [[f"{n['nodes']:,}", *(of_tool(n, t, "seconds", 2) for t in TOOLS)] for n in lengths]
    yield from table(["nodes", *TOOLS], rows)


def about(results: Result) -> str:
    machine = results["machine"]
    effort = (
        f"a short run: {results['rounds']} of each tool and {results['inferences']} inferences, "
        "on a machine with other work; only ratios mean something"
        if results["short"]
        else f"{results['rounds']} runs of each tool, {results['inferences']} inferences"
    )
    known = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    return (
        f"{results['date']}; {machine.get('processor', '')}, {machine['cores']} cores, "
        f"{machine['gigabytes']} GB, load {machine['load'][0]}; {effort}; {known}."
    )


def missed(results: Result) -> Iterator[str]:
    """Where a peer, or the deploy form, is ahead."""
    lines: list[str] = []
    for n in results["networks"]:
        own = ratio(n, "1 thread", ONNXAC)
        rivals = {t: r for t in PEERS if (r := ratio(n, "1 thread", t)) is not None}
        if own is not None and rivals:
            best = max(rivals, key=lambda t: rivals[t])
            if rivals[best] > 1.02 * own:
                lines.append(f"- {n['name']}: {best}'s output is faster, {two(rivals[best])}.")
        deploy = ratio(n, "1 thread", DEPLOY)
        if own is not None and deploy is not None and deploy > 1.02 * own:
            lines.append(f"- {n['name']}: its deploy form is faster, {two(deploy)}.")
        found = {t: n["tools"].get(t, {}) for t in TOOLS}
        tools = {t: r["seconds"]["median"] for t, r in found.items() if "seconds" in r}
        peers = [t for t in PEERS if t in tools]
        if UNPROVEN in tools and peers:
            quickest = min(peers, key=lambda t: tools[t])
            times = tools[UNPROVEN] / tools[quickest]
            if times > 0.5:
                lines.append(
                    f"- {n['name']}: without its proof onnxac takes {times:.2f} of {quickest}'s "
                    "time, not half."
                )
    yield from lines or ["- nowhere."]
    yield ""


def whole(results: Result) -> Iterator[str]:
    networks = results["networks"]
    yield f"{about(results)}\n"
    yield "![Speed-up of each tool's output, by network](measured/speedup.svg)\n"
    yield "### Speed-up of what comes out\n"
    yield "The input's time of an inference over the output's, medians, by turns."
    yield "ONNX Runtime, 1 thread:\n"
    labels = (ONNXAC, *PEERS, DEPLOY)
    yield from speeds(networks, "1 thread", labels)
    yield "All threads:\n"
    yield from speeds(networks, "all threads", labels)
    yield "OpenVINO, 1 thread, in float32:\n"
    yield from speeds(networks, "openvino", (ONNXAC, DEPLOY))
    yield "### Where another is ahead\n"
    yield from missed(results)
    for title, key, digits in (
        ("Seconds of the tool's process", "seconds", 2),
        ("Peak memory, MB", "megabytes", 0),
        ("Nodes that come out", "nodes", 0),
        ("Size that comes out, MB", "bytes", 2),
    ):
        yield f"### {title}\n"
        yield from costs(networks, key, digits)
    if not results["chains"]:
        return
    yield "### How the tool's time grows\n"
    yield "![Seconds of each tool against nodes](measured/growth.svg)\n"
    yield "Seconds of the process, on chains of ACNet blocks:\n"
    yield from growth(results["chains"])


# Plots.


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


# Where it goes.


def pictures(results: Result) -> dict[str, str]:
    """The plots, by their files' names."""
    drawn = {"speedup.svg": str(speedup_picture(results["networks"]))}
    if results["chains"]:
        drawn["growth.svg"] = str(growth_picture(results["chains"]))
    return drawn


def put(path: Path, lines: Iterator[str]) -> None:
    """Replace what stands between the marks of a page."""
    text = path.read_text("utf-8")
    made = "\n".join(lines).rstrip()
    new, count = re.subn(
        r"(<!-- networks -->\n).*?(<!-- end networks -->)",
        lambda m: f"{m[1]}{made}\n{m[2]}",
        text,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"{path}: has no place for the benchmarks")
    path.write_text(new, "utf-8")


def readme(results: Result) -> Iterator[str]:
    yield f"![Speed-up of each tool's output, by network]({PICTURES.as_posix()}/speedup.svg)\n"
    yield from short(results["networks"])
    yield about(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("results", type=Path, nargs="?", default=HERE / "results.json")
    parser.add_argument("--print", action="store_true", help="write no file")
    given = parser.parse_args()
    results = json.loads(given.results.read_text("utf-8"))
    if given.print:
        print("\n".join(whole(results)))
        return
    (ROOT / PICTURES).mkdir(exist_ok=True)
    for name, drawn in pictures(results).items():
        (ROOT / PICTURES / name).write_text(drawn, "utf-8")
    put(ROOT / "docs" / "benchmarks.md", whole(results))
    if not results["short"]:
        put(ROOT / "README.md", readme(results))


if __name__ == "__main__":
    main()
