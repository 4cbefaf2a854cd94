"""A real browser for the tests that need one; they skip, with the reason, where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A container has no user namespaces and no GPU; the rest keeps the browser from phoning home.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    pytest.importorskip("netron", reason="netron is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("there is no Chromium on the PATH")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield launched
        launched.close()


class Opened:
    """A page opened from a file, with what it said and asked for."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.path = path
        self.messages: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda m: self.messages.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: self.messages.append(f"error: {e}"))
        page.on("dialog", lambda d: self.messages.append(f"dialog: {d.message}"))
        page.on("request", lambda r: self.requests.append(r.url))

    def go(self) -> Opened:
        self.page.goto(self.path.as_uri())
        return self

    def ready(self) -> Opened:
        self.page.wait_for_selector("body[data-panes=ready]", timeout=30_000)
        return self

    @property
    def outside(self) -> list[str]:
        """Requests for anything but the page itself and what it made."""
        own = ("blob:", "about:", self.path.as_uri())
        return [url for url in self.requests if not url.startswith(own)]

    def inside(self, side: str, code: str) -> Any:
        """The value of an expression over `doc` and `win`, the document and window of a pane.

        Netron replaces `eval` in its frames, so it is evaluated from the page around them.
        """
        frame = f"document.querySelector('#pane-{side} iframe')"
        return self.page.evaluate(
            f"() => {{ const win = {frame}.contentWindow, doc = win.document; return {code}; }}"
        )


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    contexts = []

    def opened(html: str, **options: Any) -> Opened:
        path = tmp_path / "diff.html"
        path.write_text(html, encoding="utf-8")
        options.setdefault("viewport", {"width": 1440, "height": 900})
        options.setdefault("reduced_motion", "reduce")
        contexts.append(browser.new_context(**options))
        return Opened(contexts[-1].new_page(), path).go()

    yield opened
    for context in contexts:
        context.close()
