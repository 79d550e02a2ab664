"""The documentation as a site, in a real browser: it asks for nothing elsewhere, and it fits.

Skipped where chromium, playwright or mkdocs is missing; .ci/run installs them.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from test_browser import CHROMIUM, DESK, PHONE, browser

pytest.importorskip("material", reason="needs the extra `docs`")
pytest.importorskip("mkdocstrings", reason="needs the extra `docs`")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

ROOT = Path(__file__).parents[2]
# Prose, wide tables, long recorded lines, and what mkdocstrings makes.
PAGES = ("", "start/", "models/", "commands/", "sessions/", "python/")
__all__ = ["browser"]  # the fixture

# What sticks out of the window, though nothing around it scrolls.
OUTSIDE = """() => [...document.querySelectorAll(".md-content *")].filter(one => {
    if (one.getBoundingClientRect().right <= innerWidth + 1) return false;
    for (let around = one.parentElement; around; around = around.parentElement)
        if (["auto", "scroll", "hidden"].includes(getComputedStyle(around).overflowX)) return false;
    return true;
}).map(one => one.outerHTML.slice(0, 80))"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Prints nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site, built with warnings as errors and served to this machine."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    built = subprocess.run([*build, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_site_complains_of_nothing_asks_nobody_else_and_fits(
    browser: Any,
    site: str,
    scheme: str,
    size: dict[str, int],
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme)
    page, complaints, requests = context.new_page(), list[str](), list[str]()
    page.on("console", lambda one: complaints.append(one.text))
    page.on("pageerror", lambda one: complaints.append(str(one)))
    page.on("request", lambda one: requests.append(one.url))
    for path in PAGES:
        page.goto(f"{site}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
        assert page.evaluate(OUTSIDE) == [], path
        shown = page.evaluate("document.body.dataset.mdColorScheme")
        assert shown == {"light": "default", "dark": "slate"}[scheme]
    context.close()
    assert complaints == []
    assert [one for one in requests if not one.startswith((site, "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_code_and_links_have_enough_contrast(
    browser: Any,
    site: str,
    scheme: str,
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs `browser`")
    context = browser.new_context(viewport=DESK, color_scheme=scheme)
    page = context.new_page()
    rules = {"runOnly": ["color-contrast", "link-in-text-block"]}
    for path in ("start/", "python/", "settings/"):
        page.goto(f"{site}{path}")
        found = axe.Axe().run(page, options=rules).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], path
    context.close()
