"""What `check` found, in the formats that pipelines read."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from rich.text import Text

import onnxac
from onnxac.gate import OVER_BUDGET, TOO_WIDE, UNFIXED, UNFUSED, UNREADABLE, Finding, Problem
from onnxac.render import numbers, safe
from onnxac.render.safe import one_line
from onnxac.report import Report

HINTS = {
    UNFUSED: "`onnxac check --fix` merges in place, `onnxac explain` shows what",
    OVER_BUDGET: "raise the --max-... limit, or shrink the model",
    TOO_WIDE: "`onnxac optimize --equalize` evens ranges out",
    UNREADABLE: "see whether the file is whole",
}
_TITLES = {
    UNFUSED: "Model can be merged",
    OVER_BUDGET: "Model over budget",
    TOO_WIDE: "Weights of a wide range",
    UNREADABLE: "Model unreadable",
    UNFIXED: "Model could not be merged",
}
# GitLab's scale is info, minor, major, critical, blocker.
_SEVERITIES = {
    UNFUSED: "minor",
    OVER_BUDGET: "major",
    TOO_WIDE: "minor",
    UNREADABLE: "critical",
    UNFIXED: "major",
}


def message(finding: Finding, problem: Problem) -> str:
    """A problem in a sentence."""
    if problem.kind == UNFUSED and finding.report is not None:
        return _unfused(finding.report)
    if problem.kind == OVER_BUDGET:
        if problem.value is None:
            return (
                f"its {problem.about} are not known for want of a shape, "
                f"{numbers.count(problem.allowed)} are allowed"
            )
        return (
            f"{numbers.plural(problem.value, problem.about.removesuffix('s'))} "
            f"where {numbers.count(problem.allowed)} are allowed"
        )
    return one_line(problem.about)


def _unfused(report: Report) -> str:
    before, after = report.before.stats, report.after.stats
    saves = [f"nodes {numbers.count(before.nodes)} → {numbers.count(after.nodes)}"]
    for name, old, new in (
        ("multiply-adds", before.macs, after.macs),
        ("bytes", before.bytes, after.bytes),
    ):
        if old is not None and new is not None and old != new:
            change = numbers.percent(old, new)
            saves.append(f"{name} {numbers.count(old)} → {numbers.count(new)} ({change})")
    blocks = numbers.plural(len(report.fusions), "block")
    return f"{blocks} can be merged: {', '.join(saves)}"


def _messages(finding: Finding) -> list[str]:
    return [message(finding, p) for p in finding.problems]


def to_text(findings: Sequence[Finding]) -> str:
    """A line per model, and one for all of them."""
    lines = []
    for finding in findings:
        path = one_line(finding.path)
        mark = ("✓", "✗", "!")[finding.exit_code]
        if finding.fixed and finding.report is not None:
            nodes = numbers.plural(finding.report.before.stats.nodes, "node")
            lines.append(f"✓ {path}: fixed, {nodes} → {finding.report.after.stats.nodes:,}")
        elif not finding.problems and finding.stats is not None:
            lines.append(f"{mark} {path}: clean, {numbers.plural(finding.stats.nodes, 'node')}")
        lines += [f"{mark} {path}: {m}" for m in _messages(finding)]
    kinds = Counter(p.kind for f in findings for p in f.problems)
    if len(findings) > 1:
        clean = sum(not f.problems for f in findings)
        lines.append(
            f"{len(findings):,} models: {clean:,} clean"
            + "".join(f", {number:,} {kind}" for kind, number in kinds.items())
        )
    lines += [HINTS[kind] for kind in (UNFUSED,) if kind in kinds]
    return "\n".join(lines) + "\n"


def to_json(findings: Sequence[Finding]) -> str:
    """All there is, the report of each model included."""
    models = [
        {
            "path": f.path,
            "exit_code": f.exit_code,
            "fixed": f.fixed,
            "problems": [{"kind": p.kind, "message": message(f, p)} for p in f.problems],
            "report": None if f.report is None else f.report.to_dict(),
        }
        for f in findings
    ]
    return safe.to_json({"models": models}) + "\n"


def to_github(findings: Sequence[Finding]) -> str:
    """One annotation per model with a problem: GitHub shows about ten of them."""
    lines = []
    for finding in findings:
        if finding.problems:
            what = f"{one_line(finding.path)}: {'; '.join(_messages(finding))}"
            title = f"onnxac: {_TITLES[finding.problems[0].kind]}"
            place = f"title={_property(title)},file={_property(_relative(finding.path))}"
            lines.append(f"::error {place}::{_data(what)}\n")
    return "".join(lines)


def _data(text: str) -> str:
    # A line feed in a path is written by its number; whatever else a log would obey is not.
    lines = (one_line(line) for line in text.replace("%", "%25").split("\n"))
    return "%0A".join(safe.disarmed(line) for line in lines)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _relative(path: str) -> str:
    """Annotations and reports name files as the repository does, from its root."""
    root = os.environ.get("GITHUB_WORKSPACE") or os.environ.get("CI_PROJECT_DIR") or os.getcwd()
    try:
        return Path(path).resolve().relative_to(Path(root).resolve()).as_posix()
    except ValueError:
        return path


def to_gitlab(findings: Sequence[Finding]) -> str:
    """A code quality report."""
    entries = [
        {
            "description": f"{_TITLES[problem.kind]}: {message(finding, problem)}",
            "check_name": f"onnxac/{problem.kind}",
            "fingerprint": _fingerprint(_relative(finding.path), problem.kind, number),
            "severity": _SEVERITIES[problem.kind],
            "location": {"path": _relative(finding.path), "lines": {"begin": 1}},
        }
        for finding in findings
        for number, problem in enumerate(finding.problems)
    ]
    return safe.to_json(entries) + "\n"


def _fingerprint(*parts: object) -> str:
    # The same problem has the same one in each pipeline, whatever the numbers in its sentence.
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="replace")).hexdigest()


def to_sarif(findings: Sequence[Finding]) -> str:
    """A SARIF 2.1.0 log, for code scanning: a result per problem."""
    kinds = list(_TITLES)
    results = [
        {
            "ruleId": f"onnxac/{problem.kind}",
            "ruleIndex": kinds.index(problem.kind),
            "level": "warning" if problem.kind == UNFUSED else "error",
            # What looks like a link, and is none of ours, is not to become one.
            "message": {"text": message(finding, problem).replace("](", "] (")},
            "locations": [{"physicalLocation": _sarif_place(_relative(finding.path))}],
            "partialFingerprints": {
                "onnxac/v1": _fingerprint(_relative(finding.path), problem.kind, number)
            },
        }
        for finding in findings
        for number, problem in enumerate(finding.problems)
    ]
    rules = [
        {
            "id": f"onnxac/{kind}",
            "shortDescription": {"text": title},
            "help": {"text": HINTS.get(kind, title)},
        }
        for kind, title in _TITLES.items()
    ]
    driver = {"name": "onnxac", "semanticVersion": onnxac.__version__, "rules": rules}
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return safe.to_json(log) + "\n"


def _sarif_place(path: str) -> dict[str, object]:
    if os.path.isabs(path):
        # Outside of the repository.
        location = {"uri": Path(path).as_uri()}
    else:
        location = {"uri": quote(os.fsencode(path)), "uriBaseId": "%SRCROOT%"}
    return {"artifactLocation": location, "region": {"startLine": 1}}


def to_junit(findings: Sequence[Finding]) -> str:
    """A JUnit report, one test case per model."""
    suite = ElementTree.Element(
        "testsuite",
        name="onnxac check",
        tests=str(len(findings)),
        failures=str(sum(f.exit_code == 1 for f in findings)),
        errors=str(sum(f.exit_code == 2 for f in findings)),
        skipped="0",
    )
    for finding in findings:
        case = ElementTree.SubElement(
            suite, "testcase", classname="onnxac.check", name=one_line(finding.path)
        )
        if finding.problems:
            what = "error" if finding.report is None else "failure"
            text = "; ".join(_messages(finding))
            kind = finding.problems[0].kind
            ElementTree.SubElement(case, what, type=kind, message=text).text = text
    root = ElementTree.Element("testsuites", name="onnxac")
    root.append(suite)
    ElementTree.indent(root)
    body: str = ElementTree.tostring(root, encoding="unicode")
    # Written by their numbers, a reader of XML finds the same marks, and a log no command.
    body = body.replace("##", "#&#35;").replace("::", ":&#58;")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def marked(text: str) -> Text:
    """The text form with its marks in colour."""
    told = Text(text.rstrip("\n"))
    for mark, style in (("✓", "bold green"), ("✗", "bold red"), ("!", "bold yellow")):
        told.highlight_regex(rf"(?m)^{mark}", style)
    return told


FORMATS: Mapping[str, Callable[[Sequence[Finding]], str]] = {
    "text": to_text,
    "json": to_json,
    "github": to_github,
    "gitlab": to_gitlab,
    "junit": to_junit,
    "sarif": to_sarif,
}
