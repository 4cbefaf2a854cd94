"""Takes the picture of a diff that the README shows.

python tests/diff/screenshot.py diff.html docs/diff.png
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from conftest import ARGUMENTS, NAMES
from playwright.sync_api import sync_playwright


def main(page_file: Path, picture: Path) -> None:
    found = next(path for name in NAMES if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1360, "height": 1180}, color_scheme="light")
        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector("body[data-panes=ready]")
        page.wait_for_timeout(300)
        picture.parent.mkdir(exist_ok=True)
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
