"""Make the tables and the plots of what `compare.py` measured: nothing here is typed by hand.

    python benchmarks/figures.py [results.json] [--print]

Prints all of it, or writes docs/measured/speedup.svg and growth.svg, and what stands between
`<!-- networks -->` and `<!-- end networks -->` in docs/benchmarks.md (all of it) and, of a run that
was not a short one, in README.md (the picture and ten rows).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from plots import DEPLOY, ONNXAC, PEERS, TOOLS, UNPROVEN, Result, measured, pictures, ratio

HERE = Path(__file__).parent
ROOT = HERE.parent
PICTURES = Path("docs/measured")
# ONNX Runtime writes for itself; the others write models, as onnxac does.
RUNTIME = "onnxruntime"
REWRITERS = tuple(p for p in PEERS if p != RUNTIME)
# By how much medians of the same model differ.
SAME = 1.02
NONE = "–"


# Numbers.


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
        else f"up to {results['rounds']} runs of each tool and {results['inferences']} inferences, "
        f"{results['minutes']:.0f} minutes"
    )
    known = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    return (
        f"{results['date']}; {machine.get('processor', '')}, {machine['cores']} cores, "
        f"{machine['gigabytes']} GB, load {machine['load'][0]}; {effort}; {known}."
    )


def behind(network: Result) -> Iterator[str]:
    """In what another is ahead of onnxac on one network, or a target is missed."""
    for engine in ("1 thread", "all threads"):
        own = ratio(network, engine, ONNXAC)
        others = {t: r for t in (*PEERS, DEPLOY) if (r := ratio(network, engine, t)) is not None}
        if own is None or not others:
            continue
        for label in [t for t in others if others[t] > SAME * own]:
            named = "the deploy form" if label == DEPLOY else f"{label}'s output"
            yield f"{named} is faster, {two(others[label])} to {two(own)} ({engine})"
    tools = {t: r for t in TOOLS if "seconds" in (r := network["tools"].get(t, {}))}
    peers = [t for t in REWRITERS if t in tools]
    if not peers:
        return
    for tool, key, most, what in (
        (UNPROVEN, "seconds", 0.5, "time without a proof"),
        (UNPROVEN, "megabytes", 0.7, "memory"),
        (ONNXAC, "seconds", 1.0, "time with its proof"),
    ):
        if tool in tools:
            best = min(peers, key=lambda t: tools[t][key]["median"])
            times = tools[tool][key]["median"] / tools[best][key]["median"]
            if times > most:
                yield f"{what} is {two(times)} of {best}'s, not {most:g}"


def missed(results: Result) -> Iterator[str]:
    """Where a peer, or the deploy form, is ahead."""
    found = {n["name"]: list(behind(n)) for n in measured(results)}
    lines = [f"- {name}: {'; '.join(said)}." for name, said in found.items() if said]
    yield from lines or ["- nowhere."]
    tools = [n["tools"] for n in measured(results)]
    shares = [
        t[UNPROVEN]["seconds"]["median"] / t[RUNTIME]["seconds"]["median"]
        for t in tools
        if "seconds" in t.get(RUNTIME, {}) and "seconds" in t.get(UNPROVEN, {})
    ]
    if shares:
        yield (
            "\nThe form that onnxruntime writes merges no branches and runs there only; without "
            f"its proof onnxac takes {min(shares):.1f} to {max(shares):.1f} times as long as that, "
            f"in the median {statistics.median(shares):.1f}."
        )
    for network in results["networks"]:
        if "failure" in network:
            yield f"\n{network['name']} was not measured: {network['failure']}."
    yield ""


def whole(results: Result) -> Iterator[str]:
    networks = measured(results)
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


# Where it goes.


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
    yield from short(measured(results))
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
