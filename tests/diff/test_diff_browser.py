"""The page in a real Chromium, opened from a file."""

from __future__ import annotations

import importlib.util
import re
import sys
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from diff_models import acnet, if_node, reported
from onnx import helper
from test_diff_page import HOSTILE

from onnxac.page import netron, panes, render_html
from onnxac.page import page as page_files

Open = Callable[..., Any]

RED, GREEN, GREY = "rgb(197, 53, 43)", "rgb(28, 127, 71)", "rgb(106, 111, 119)"

# Each drawn node: its operator, the colour of its head, and whether it is marked.
NODES = """[...doc.querySelectorAll("g.node")]
  .filter((g) => g.querySelector(".node-item-type"))
  .map((g) => [
    g.querySelector(".node-item-type text").textContent,
    win.getComputedStyle(g.querySelector(".node-item-type path")).fill,
    g.classList.contains("select") || g.classList.contains("onnxac-peer"),
  ])"""

CENTRE = """(({x, y, width, height}) => {
    const frame = win.frameElement.getBoundingClientRect();
    return [frame.x + x + width / 2, frame.y + y + height / 2];
  })([...doc.querySelectorAll("g.node .node-item-type")][%d].getBoundingClientRect())"""


def test_both_panes_draw_in_the_right_colours_and_nothing_is_requested(
    open_page: Open,
) -> None:
    page = open_page(render_html(*reported(2))).ready()
    block = [("Conv", RED)] * 3 + [("Add", RED)] * 2 + [("Relu", GREY)]
    before = [(op, colour) for op, colour, _ in page.inside("before", NODES)]
    after = [(op, colour) for op, colour, _ in page.inside("after", NODES)]
    assert sorted(before) == sorted(block * 2)
    assert sorted(after) == sorted([("Conv", GREEN), ("Relu", GREY)] * 2)
    assert page.outside == []
    assert page.messages == []
    assert "consent" not in page.inside("before", "doc.cookie")
    assert not page.inside("before", "doc.body.classList.contains('notification')")


def test_the_first_fusion_is_marked_from_the_start(open_page: Open) -> None:
    page = open_page(render_html(*reported(2))).ready()
    assert sum(marked for *_, marked in page.inside("before", NODES)) == 5
    assert sum(marked for *_, marked in page.inside("after", NODES)) == 1
    assert page.page.locator("#c0.on").count() == 1
    assert page.page.evaluate("[scrollY, document.activeElement.tagName]") == [0, "BODY"]


def test_a_click_on_a_node_selects_its_counterpart(open_page: Open) -> None:
    page = open_page(render_html(*reported(2))).ready()
    page.page.locator(".bench").evaluate("e => e.scrollIntoView()")
    index = next(k for k, n in enumerate(page.inside("before", NODES)) if n[0] == "Relu")
    page.page.mouse.click(*page.inside("before", CENTRE % index))
    page.page.wait_for_timeout(300)
    heads = "[...doc.querySelectorAll('g.node.select .node-item-type text')]"
    selected = f"{heads}.map((t) => t.textContent)"
    assert page.inside("before", selected) == ["Relu"]
    assert page.inside("after", selected) == ["Relu"]
    assert "b0/relu" in page.inside(
        "before",
        "doc.getElementById('sidebar').textContent + "
        "[...doc.querySelectorAll('#sidebar input')].map((i) => i.value).join()",
    )
    assert page.messages == []


def test_a_click_on_a_merged_node_marks_what_it_was(open_page: Open) -> None:
    page = open_page(render_html(*reported(2))).ready()
    page.page.locator("#c1 .show").click()
    index = next(k for k, n in enumerate(page.inside("after", NODES)) if n[0] == "Conv" and n[2])
    page.page.mouse.click(*page.inside("after", CENTRE % index))
    page.page.wait_for_timeout(300)
    marked = [op for op, _, marked in page.inside("before", NODES) if marked]
    assert sorted(marked) == ["Add", "Add", "Conv", "Conv", "Conv"]
    assert page.page.locator("#c1.on").count() == 1


def test_scroll_and_zoom_are_linked(open_page: Open) -> None:
    page = open_page(render_html(*reported(12))).ready()
    page.page.locator(".bench").evaluate("e => e.scrollIntoView()")
    place = page.page.locator("#pane-before").bounding_box()
    assert place is not None
    page.page.mouse.move(place["x"] + 200, place["y"] + 300)
    top = "(doc.getElementById('target') || doc.getElementById('graph')).scrollTop"
    start = page.inside("after", top)
    page.page.mouse.wheel(0, 1500)
    page.page.wait_for_timeout(400)
    assert page.inside("after", top) > start + 100
    width = "doc.getElementById('canvas').getBoundingClientRect().width"
    was = page.inside("before", width), page.inside("after", width)
    page.page.keyboard.down("Control")
    page.page.mouse.wheel(0, 30)
    page.page.keyboard.up("Control")
    page.page.wait_for_timeout(300)
    now = page.inside("before", width), page.inside("after", width)
    assert now[0] < was[0]
    assert now[0] / was[0] == pytest.approx(now[1] / was[1], rel=0.02)
    page.page.locator("#linked").uncheck()
    page.page.mouse.move(place["x"] + 200, place["y"] + 300)
    start = page.inside("after", top)
    page.page.mouse.wheel(0, -800)
    page.page.wait_for_timeout(300)
    assert page.inside("after", top) == start


def test_colours_survive_a_change_of_netrons_options(open_page: Open) -> None:
    page = open_page(render_html(*reported(2))).ready()
    page.inside("before", "win.__view__.toggle('names')")
    page.page.wait_for_timeout(700)
    assert "b0/square" in page.inside("before", "doc.getElementById('canvas').textContent")
    colours = [colour for _, colour, _ in page.inside("before", NODES)]
    assert (colours.count(RED), colours.count(GREY)) == (10, 2)
    assert page.messages == []


def test_subgraphs_and_unwritten_outputs_do_no_harm(open_page: Open) -> None:
    before, after, report = reported(1)
    for m in (before, after):
        m.graph.node.append(if_node())
        m.graph.node.append(helper.make_node("Mystery", ["t0"], [], domain="odd"))
    page = open_page(render_html(before, after, report)).ready()
    assert ["If", GREY, False] in page.inside("after", NODES)
    assert page.messages == []


def test_search_and_keys(open_page: Open) -> None:
    page = open_page(render_html(*reported(4))).ready().page
    page.keyboard.press("/")
    page.keyboard.type("b2/merged")
    assert page.locator(".card:visible").count() == 1
    assert page.locator("#found").text_content() == "1 of 4"
    page.keyboard.press("Escape")
    assert page.locator(".card:visible").count() >= 2
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("#c2.on").count() == 1
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    assert page.locator("#c1.on").count() == 1
    assert page.evaluate("document.activeElement.id") == "c1"


def test_the_colour_scheme_reaches_the_panes(open_page: Open) -> None:
    page = open_page(render_html(*reported(1)), color_scheme="light").ready()
    background = "win.getComputedStyle(doc.body).backgroundColor"
    light = page.inside("before", background)
    page.page.locator("#theme").click()
    page.page.locator("#theme").click()
    assert page.page.locator("#theme").text_content() == "◐ Dark"
    page.page.wait_for_timeout(100)
    assert page.inside("before", background) != light
    assert (
        page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 18, 20)"
    )


@pytest.mark.parametrize("evil", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_do_no_harm(evil: str, open_page: Open) -> None:
    # A tensor's or node's name may hold anything but a NUL, which ONNX's text can't either.
    name = evil.replace("\x00", "")
    page = open_page(render_html(*reported(1, lambda n: f"{name}{n}"))).ready()
    assert page.page.title().startswith("6 nodes → 2.")
    assert page.messages == []
    assert page.outside == []
    assert len(page.inside("before", NODES)) == 6
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_scripts_everything_is_readable(open_page: Open) -> None:
    page = open_page(render_html(*reported(2)), java_script_enabled=False).page
    assert page.locator("h1").is_visible()
    assert page.locator("#c1 .drawing").is_visible()
    assert page.locator("#panes").is_hidden()
    assert page.locator(".show").first.is_hidden()


def test_in_a_sandboxed_viewer_the_static_part_stays(open_page: Open) -> None:
    inner = render_html(*reported(1)).replace("&", "&amp;").replace('"', "&quot;")
    frame = f'<iframe sandbox="allow-scripts" srcdoc="{inner}" width="1200" height="800"></iframe>'
    page = open_page(f"<!doctype html><body>{frame}").page
    viewed = page.frame_locator("iframe")
    viewed.locator("#trouble").wait_for(state="visible", timeout=20_000)
    assert "can't be drawn side by side" in (viewed.locator("#trouble").text_content() or "")
    assert viewed.locator("h1").is_visible()
    assert viewed.locator("#c0 .drawing").is_visible()


@pytest.mark.parametrize("part", ["_table", "_updateZoom", "active(?=Target|Graph)"])
def test_a_netron_that_changed_inside_is_left_out_with_a_notice(
    part: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = netron._read
    monkeypatch.setattr(netron, "_read", lambda f, n: re.sub(part, "unknown", read(f, n)))
    page = open_page(render_html(*reported(1))).page
    page.locator("#trouble").wait_for(state="visible", timeout=20_000)
    assert "this Netron has no" in (page.locator("#trouble").text_content() or "")
    assert page.locator("#panes").is_hidden()
    assert page.locator("h1").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1000, 1440])
def test_it_fits_and_contrasts(width: int, scheme: str, open_page: Open) -> None:
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    page = open_page(render_html(*reported(2)), **options).ready().page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) == []


# Texts whose contrast with the background behind them is below 4.5.
CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, style, svg, .sr, .skip")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${walk.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


def test_every_control_has_a_name(open_page: Open) -> None:
    page = open_page(render_html(*reported(2))).ready().page
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, iframe, svg[role=img]")]
          .filter((e) => !(e.getAttribute("aria-label") || e.title || e.textContent.trim()
            || (e.labels && e.labels.length)))
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []


def test_a_network_of_250_nodes_is_small_and_quick(open_page: Open) -> None:
    html = render_html(*reported(42))
    assert len(html.encode()) < 500_000
    start = time.perf_counter()
    page = open_page(html)
    page.page.locator("h1").wait_for(state="visible")
    page.page.locator("#c0 .drawing").wait_for(state="visible")
    assert time.perf_counter() - start < 8
    page.ready()
    assert len(page.inside("before", NODES)) == 252


def test_a_huge_graph_is_drawn_when_asked_for(open_page: Open) -> None:
    html = render_html(*reported(1)).replace('data-nodes="8"', 'data-nodes="16000"')
    page = open_page(html)
    page.page.get_by_role("button", name="Draw both graphs (16,000 nodes").click()
    page.ready()
    assert len(page.inside("before", NODES)) == 6


def test_two_models_without_a_report(open_page: Open) -> None:
    before, after = acnet(3, after_name=lambda n: f"v/{n}", after_tensor=lambda t: f"u{t}")
    page = open_page(render_html(before, after)).ready()
    assert sorted({(op, c) for op, c, _ in page.inside("after", NODES)}) == [
        ("Conv", GREEN),
        ("Relu", GREY),
    ]
    assert page.messages == []


def test_the_panes_begin_in_the_first_screen(open_page: Open) -> None:
    page = open_page(render_html(*reported(4))).ready().page
    for side in ("before", "after"):
        box = page.locator(f"#pane-{side}").bounding_box()
        assert box is not None
        assert box["y"] < 900 * 0.6


def test_the_first_block_is_in_the_first_screen(open_page: Open) -> None:
    """The pane goes on below the window: what is marked is in the middle of what is seen of it."""
    page = open_page(render_html(*reported(12))).ready()
    page.page.wait_for_timeout(400)
    for side in ("before", "after"):
        top = page.page.locator(f"#pane-{side}").bounding_box()["y"]
        ends = page.inside(
            side,
            """[...doc.querySelectorAll("g.node.select, g.node.onnxac-peer")].flatMap((g) => {
              const frame = win.frameElement.getBoundingClientRect().y;
              const { top, bottom } = g.getBoundingClientRect();
              return [frame + top, frame + bottom];
            })""",
        )
        assert (min(ends) + max(ends)) / 2 == pytest.approx((top + 900) / 2, abs=60)


def test_a_large_graph_begins_with_what_is_around_the_block(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once a part of it, marked as all of it would be; then the whole takes its place."""
    monkeypatch.setattr(panes, "LARGE", 200)
    # Without the second half of it, the whole is never ready.
    html = render_html(*reported(42))
    assert 'id="data-near-before"' in html
    halted = re.sub(r'(id="data-before"[^>]*>)[^<]*', r"\1AAAA", html)
    page = open_page(halted)
    page.page.wait_for_selector("body[data-panes=near]")
    drawn = page.inside("before", NODES)
    assert 10 < len(drawn) <= 60
    assert sum(marked for *_, marked in drawn) == 5
    assert page.page.locator(".wait").count() == 0
    page.page.get_by_text("the whole graph can't be drawn").first.wait_for()
    assert page.page.locator("#panes").is_visible()
    whole = open_page(html).ready()
    assert len(whole.inside("before", NODES)) == 252
    assert sum(marked for *_, marked in whole.inside("before", NODES)) == 5
    assert whole.page.locator(".place iframe").count() == 2
    assert whole.page.locator(".more").all_text_contents() == ["", ""]
    whole.page.locator("#c7 .show").click()
    assert "on" in (whole.page.locator("#c7").get_attribute("class") or "")
    assert whole.messages == []


def test_that_a_graph_is_being_drawn_is_seen(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words lie over the empty viewer, and a viewer that never answers is given up."""
    read = page_files.asset
    silent = "await new Promise(() => {});"
    monkeypatch.setattr(page_files, "asset", lambda f: silent if f == "frame.js" else read(f))
    html = render_html(*reported(1)).replace("data-nodes=", 'data-patience="1500" data-nodes=')
    page = open_page(html).page
    page.locator("#pane-after .wait").wait_for(state="visible")
    assert (
        page.evaluate(
            """() => {
          const box = document.querySelector("#pane-after .wait").getBoundingClientRect();
          const top = document.elementFromPoint(box.x + box.width / 2, box.y + 20);
          return top.className;
        }"""
        )
        == "wait"
    )
    page.locator("#trouble").wait_for(state="visible", timeout=20_000)
    assert "did not answer within 1.5 s" in (page.locator("#trouble").text_content() or "")


def test_netrons_panel_closes_when_one_moves_on(open_page: Open) -> None:
    page = open_page(render_html(*reported(3))).ready()
    state = "doc.getElementById('sidebar').style.opacity"
    page.inside("before", "win.__view__.showModelProperties()")
    assert page.inside("before", state) == "1"
    page.page.locator("#c1 .show").click()
    assert page.inside("before", state) == "0"


def test_the_way_of_the_tab_key_is_short(open_page: Open) -> None:
    """However many cards there are, the controls of one are on it; `j` and `k` choose which."""
    page = open_page(render_html(*reported(30))).ready().page
    stops = """() => [...document.querySelectorAll("a[href], button, input, select, summary")]
      .filter((e) => e.checkVisibility() && e.tabIndex >= 0)"""
    assert page.evaluate(f"({stops})().length") < 16
    reached = f"({stops})().filter((e) => e.closest('.card')).map((e) => e.closest('.card').id)"
    assert set(page.evaluate(reached)) == {"c0"}
    page.keyboard.press("j")
    assert set(page.evaluate(reached)) == {"c1"}


def test_the_keys_stand_beside_what_they_move(open_page: Open) -> None:
    page = open_page(render_html(*reported(4))).ready().page
    keys, card = page.locator(".keys").bounding_box(), page.locator("#c0").bounding_box()
    assert keys is not None
    assert card is not None
    assert 0 < card["y"] - keys["y"] < 80


@pytest.mark.parametrize("width", [720, 1400])
def test_paper_holds_all_cards_and_says_where_the_graphs_are(width: int, open_page: Open) -> None:
    options = {"viewport": {"width": width, "height": 900}}
    page = open_page(render_html(*reported(12)), **options).ready().page
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".paper").is_visible()
    assert page.locator(".panes").is_hidden()
    last = page.evaluate(
        """() => {
          const card = document.querySelector("#c11").getBoundingClientRect();
          const list = document.querySelector(".cards").getBoundingClientRect();
          return card.bottom <= list.bottom + 1;
        }"""
    )
    assert last


OLDEST = Path(sys.prefix) / "netron-oldest" / "netron"


@pytest.fixture(params=["installed", "oldest"])
def either_netron(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is made with the newest netron, and with the oldest that is allowed."""
    if request.param == "installed":
        return
    if not OLDEST.is_dir():
        pytest.skip("the oldest netron is not there; `make test` brings it")
    spec = ModuleSpec("netron", None, is_package=True)
    spec.submodule_search_locations = [str(OLDEST)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    monkeypatch.setattr(netron, "_version", lambda: "8.0.0")


@pytest.mark.usefixtures("either_netron")
@pytest.mark.parametrize("ir_version", [9, 11])
def test_the_oldest_and_the_newest_netron(ir_version: int, open_page: Open) -> None:
    before, after, report = reported(3)
    before.ir_version = after.ir_version = ir_version
    page = open_page(render_html(before, after, report)).ready()
    assert sum(marked for *_, marked in page.inside("before", NODES)) == 5
    page.inside("before", "win.__view__.showModelProperties()")
    page.page.locator("#c1 .show").click()
    assert page.inside("before", "doc.getElementById('sidebar').style.opacity") == "0"
    assert page.inside("before", "win.__view__._sidebar") is not None
    x, y = page.inside("after", CENTRE % 0)
    page.page.mouse.click(x, y)
    page.page.wait_for_function("document.querySelector('.card.on')")
    assert (page.messages, page.outside) == ([], [])
