"""The static part of the page: whole, escaped, and honest."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import html
import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from diff_models import acnet, info, proof, reported
from onnx import ModelProto

from onnxac.page import render_html
from onnxac.report import Certificate, CertifiedSource, Refusal, Report, Verification

HOSTILE = {
    "script": "</script><script>document.title='owned'</script>",
    "attribute": '" onmouseover="document.title=\'owned\'" x="',
    "image": "<img src=x onerror=\"document.title='owned'\">",
    "comment": "<!--",
    "entity": "&lt;b&amp;",
    "emoji": "🧨👩‍👩‍👧‍👦",
    "right to left": "שלום\u202egnp.exe\u202c",
    "controls": "\x00\x07\x1b[31mred\x1b]0;owned\x07",
    "quotes": "'\"`${document.title='owned'}",
    "template": "{{constructor.constructor('alert(1)')()}}",
    "long": "long/" * 2000,
    "line separators": "a\u2028b\u2029c\nd",
}

VOID = {"meta", "input", "br", "hr", "link", "path", "use", "rect", "circle", "wbr"}


class Checker(HTMLParser):
    """Collects the text, and fails on elements that don't nest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.text.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)


def parse(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def text_of(page: str) -> str:
    """What is read: spaces run together, and none before punctuation."""
    return re.sub(r" (?=[.,;])", "", re.sub(r"\s+", " ", "".join(parse(page).text)))


def embedded(page: str, key: str = "report") -> bytes:
    plain = re.search(
        rf'<script id="{key}" type="application/json">(.*?)</script>', page, re.DOTALL
    )
    if plain:
        return plain[1].encode()
    packed = re.search(rf'<script id="data-{key}"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert packed
    return gzip.decompress(base64.b64decode(packed[1]))


def test_the_page_says_it_in_its_first_words() -> None:
    page = render_html(*reported(), netron=False)
    assert "12 nodes → 4. Equal within 2.1e-7." in text_of(page)
    assert "<title>12 nodes → 4. Equal within 2.1e-7. — onnxac diff</title>" in page


def test_everything_is_there_without_scripts() -> None:
    before, after, report = reported()
    shown = text_of(render_html(before, after, report, netron=False, command="onnxac diff a b"))
    for part in (
        "Conv 6 2 −4",
        "Add 4 0 −4",
        "Relu 2 2 ±0",
        "b1/merged",
        "5 nodes → 1",
        "3×3 Conv",
        "pads 1 group 1",
        "Left alone 2",
        "Relu is not linear",
        "3 runs; ONNX Runtime 1.0",
        report.before.sha256,
        report.after.sha256,
        "Made by onnxac optimize before.onnx -o after.onnx",
        "Shown by onnxac diff a b",
    ):
        assert part in shown, part


def test_drawings_are_stored_once_and_labelled() -> None:
    page = render_html(*reported(5), netron=False)
    assert page.count("<symbol") == 1
    labels = [a["aria-label"] for t, a in parse(page).seen if t == "svg" and a.get("role") == "img"]
    assert labels == ["3 branches: 3×3 Conv, 1×3 Conv, 3×1 Conv. Merged: 3×3."] * 5


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (None, "Not verified."),
        (proof(0.0), "Equal to the bit."),
        (proof(2.11e-7), "Equal within 2.2e-7."),
        (proof(0.02), "Different by 2e-2."),
        (proof(0.02), "(tolerance 1e-5), 3 runs"),
        (proof(float("nan")), "Different by nan."),
    ],
)
def test_the_verdict_never_flatters(check: Verification | None, words: str) -> None:
    before, after, report = reported()
    changed = dataclasses.replace(report, verification=check)
    assert words in text_of(render_html(before, after, changed, netron=False))


def test_nothing_merged_is_said() -> None:
    before, _, report = reported()
    untouched = dataclasses.replace(report, fusions=(), refusals=())
    shown = text_of(render_html(before, before, untouched, netron=False))
    assert "12 nodes, nothing to merge." in shown
    assert "Nothing that could have been merged." in shown


def test_two_models_without_a_report() -> None:
    before, after = acnet()
    page = render_html(
        before,
        after,
        netron=False,
        before_info=info(before, "a.onnx"),
        after_info=info(after, "b.onnx"),
        verification=proof(),
    )
    shown = text_of(page)
    assert "nodes were matched by names (2 pairs)" in shown
    assert "5 nodes before" in shown
    assert "b0/square Conv" in shown
    assert "Equal within 2.1e-7." in shown
    assert "a.onnx → b.onnx" in shown


@pytest.mark.parametrize("evil", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_stay_text(evil: str) -> None:
    before, after, report = reported(2, lambda n: f"{evil}{n}{evil}")
    page = render_html(before, after, report, netron=True, command=evil)
    plain = render_html(*reported(2), netron=True, command="x")
    elements = [(t, sorted(a)) for t, a in parse(page).seen if t not in ("title", "bdi", "wbr")]
    expected = [(t, sorted(a)) for t, a in parse(plain).seen if t not in ("title", "bdi", "wbr")]
    assert elements == expected
    assert "\x00" not in page
    assert "\x1b" not in page
    # A long name comes back a few times, not at every mention.
    assert len(page) < len(plain) + 60_000


@pytest.mark.parametrize("evil", HOSTILE.values(), ids=HOSTILE)
def test_the_embedded_report_comes_back_whole(evil: str) -> None:
    before, after, report = reported(2, lambda n: f"{evil}{n}")
    data = json.loads(embedded(render_html(before, after, report, netron=False)))
    assert Report.from_dict(data) == report


def test_a_long_report_is_packed() -> None:
    before, after, report = reported(80)
    page = render_html(before, after, report, netron=False)
    assert 'id="report"' not in page
    assert Report.from_dict(json.loads(embedded(page))) == report


def test_the_page_forbids_every_request() -> None:
    page = render_html(*reported(), netron=False)
    policy = next(a["content"] for t, a in parse(page).seen if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy
    assert "http" not in policy.replace("http-equiv", "")
    links = re.findall(r"(?:href|src)=\"([^\"]*)\"", page)
    assert all(link.startswith("#") for link in links)


def test_the_same_models_make_the_same_page() -> None:
    assert render_html(*reported()) == render_html(*reported())


def test_weights_are_left_out_and_shapes_kept() -> None:
    pytest.importorskip("netron")
    before, after, report = reported()
    page = render_html(before, after, report)
    slim = ModelProto.FromString(embedded(page, "before"))
    assert [list(t.dims) for t in slim.graph.initializer] == [
        list(t.dims) for t in before.graph.initializer
    ]
    assert not any(t.raw_data for t in slim.graph.initializer)
    assert [n.SerializeToString() for n in slim.graph.node] == [
        n.SerializeToString() for n in before.graph.node
    ]
    assert any(t.raw_data for t in before.graph.initializer)


def test_netrons_licence_is_kept() -> None:
    pytest.importorskip("netron")
    shown = text_of(render_html(*reported()))
    assert "Copyright (c) Lutz Roeder" in shown
    assert "The above copyright notice and this permission notice shall be included" in shown


def test_without_netron_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    page = render_html(*reported())
    assert 'netron is not installed; `pip install "onnxac[netron]"`' in text_of(page)
    assert 'id="panes"' not in page
    assert "12 nodes → 4." in text_of(page)


def test_a_netron_with_other_files_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("netron")
    spec = importlib.util.spec_from_loader("netron", loader=None, is_package=True)
    assert spec is not None
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    shown = text_of(render_html(*reported()))
    assert re.search(r"netron [\d.]+ has no base\.js, view\.js", shown)


def test_many_refusals_are_grouped_by_their_reason() -> None:
    before, after, report = reported(1)
    node = report.refusals[0].node
    many = tuple(
        Refusal(
            dataclasses.replace(node, name=f"conv{i}"), "border", f"padding past conv{i}'s border"
        )
        for i in range(500)
    )
    page = render_html(before, after, dataclasses.replace(report, refusals=many), netron=False)
    shown = text_of(page)
    assert "Left alone 500" in shown
    assert shown.count("padding past this node's border") == 1
    assert "and 440 more" in shown


def test_unescaping_a_name_gives_it_back() -> None:
    evil = HOSTILE["quotes"]
    page = render_html(*reported(1, lambda n: f"{n}{evil}"), netron=False)
    assert f"b0/merged{evil}" in html.unescape(page)


def test_a_card_tells_of_its_certificate() -> None:
    before, after, report = reported()
    source = CertifiedSource("x\u202e", ((1, 8, 3, 3),), (1, None, 3, 3))
    good = Certificate("holds", None, (source,), 1234, 0.5, 2.0**-24, 2.0**-41, 0.1, 99)
    bad = dataclasses.replace(good, verdict="fails", reason="'a<b' differs")
    fusions = [
        dataclasses.replace(f, certificate=c)
        for f, c in zip(report.fusions, (good, bad), strict=True)
    ]
    told = dataclasses.replace(report, fusions=tuple(fusions))
    page = render_html(before, after, told, netron=False)
    assert "certificate <b>✓ holds</b>" in page
    assert "1,234 entries, the worst at 50 % of what rounding may do" in page
    assert "passes with 2^-41 at most; x\ufffd [any, 8, 3 and more, 3 and more]" in page
    assert "certificate <b>✗ fails</b>" in page
    assert "&#x27;a&lt;b&#x27; differs" in page
    assert "certificate <b>" not in render_html(before, after, report, netron=False)


def test_many_notes_on_what_was_not_compared_are_folded() -> None:
    before, after, report = reported()
    many = dataclasses.replace(proof(0.0), skipped=tuple(f"'t{i}' is left out" for i in range(50)))
    html = render_html(before, after, dataclasses.replace(report, verification=many), netron=False)
    opened, _, folded = text_of(html).partition("46 more notes")
    assert opened.count("is left out") == 4
    assert folded.count("is left out") == 46
