"""The page in a real browser: it asks for nothing, complains of nothing, and does what it shows.

Skipped where there is no chromium or no playwright; .ci/run installs both.
"""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from madeup import decaying, examined, info, row, store
from test_all_or_nothing import rows, run_info
from test_gallery import stored
from test_page import large

from fdbench.api import viewer
from fdbench.reporting.chapters import build
from fdbench.reporting.render.html_page import page_text
from fdbench.store import Check, Workspace, read_runs, write_findings

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

LONG = "<img src=x onerror=alert(1)>\u202e\x1b[31m" + "n" * 300
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def made(results: Path) -> Path:
    """A page with everything on it: the path of its file."""
    for model, last in (("r20", 40), ("r20-mean", 45)):
        decaying(results, model, {0: 90, 10: 60, 100: last})
        decaying(results, model, {0: 90, 10: 40, 100: last - 20}, eps=16 / 255)
    odd = info(images=4)
    odd = replace(odd, model=replace(odd.model, name=LONG), warnings=(LONG,), command=LONG)
    store(results, odd, [row(image, 20, (10, 100), clean=image > 0) for image in range(4)])
    store(results, run_info(), rows())
    stored(results / "sets" / "madeup")
    write_findings(Workspace(results), examined(info("r20"), Check("noise", "fail", "noise wins")))
    log = [
        {"epoch": i, "loss": 2 / i, "held_out_clean": i / 9, "held_out_pgd": i / 18}
        for i in range(1, 9)
    ]
    (results / "checkpoints").mkdir()
    card = {"weights": info("r20").model.weights, "log": log}
    (results / "checkpoints" / "r20.json").write_text(json.dumps(card))
    path = results / "report.html"
    path.write_text(page_text(build(results, read_runs(results))))
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Opened:
    """The page as a user has it, with what it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.context = browser.new_context(**{"viewport": DESK, **settings})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda one: self.complaints.append(one.text))
        self.page.on("pageerror", lambda one: self.complaints.append(str(one)))
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(".chart svg")

    def column(self, table: str, place: int) -> list[str]:
        cells = self.page.query_selector_all(f"{table} tbody tr > :nth-child({place})")
        return [re.split(r"[ \[\n]", cell.inner_text())[0] for cell in cells]


@pytest.fixture
def desk(browser: Any, path: Path) -> Iterator[Opened]:
    opened = Opened(browser, path)
    yield opened
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_asks_for_nothing_complains_of_nothing_and_fits(
    browser: Any, path: Path, scheme: str, size: dict[str, int]
) -> None:
    opened = Opened(browser, path, color_scheme=scheme, viewport=size)
    page = opened.page
    charts = page.query_selector_all(".chart, .bars")
    assert charts
    assert all(chart.query_selector("svg[role=img]") for chart in charts)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == (scheme == "dark")
    assert opened.requests == [path.as_uri()]
    assert opened.complaints == []
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Any, path: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs `browser`")
    opened = Opened(browser, path, color_scheme=scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = axe.Axe().run(opened.page).response["violations"]
    opened.context.close()
    assert [
        (one["id"], one["nodes"][0]["html"])
        for one in found
        if one["impact"] in ("serious", "critical")
    ] == []


def test_a_leaderboard_sorts_by_the_heading_that_is_clicked(desk: Opened) -> None:
    table = "#summary .wide:nth-of-type(1) table"
    desk.page.click(f"{table} th button:has-text('best known')")
    falling = [float(text) for text in desk.column(table, 4)]
    assert falling == sorted(falling, reverse=True)
    desk.page.click(f"{table} th button:has-text('best known')")
    assert [float(text) for text in desk.column(table, 4)] == falling[::-1]
    sort = desk.page.get_attribute(f"{table} th:nth-child(4)", "aria-sort")
    assert sort == "ascending"


def test_pointing_at_a_curve_shows_its_values(desk: Opened) -> None:
    point = desk.page.locator("#iterations .plot svg circle").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    desk.page.mouse.move(box["x"] + 5, box["y"] + 5)
    tip = desk.page.wait_for_selector("#iterations svg text:has-text('95 %: ')")
    assert re.search(r"attack iterations \w+: [\d.]+", tip.text_content())


def test_a_curve_can_be_hidden_and_its_table_opened(desk: Opened) -> None:
    figure = desk.page.locator("#iterations figure").first
    before = figure.locator("svg[role=img] text.name").count()
    figure.locator(".legend button").first.click()
    assert figure.locator("svg[role=img] text.name").count() == before - 1
    figure.locator("summary").click()
    assert figure.locator("table").is_visible()


def test_images_are_filtered_by_who_broke_them_and_by_agreement(desk: Opened) -> None:
    page = desk.page
    networks = page.eval_on_selector_all("#f-a option", "all => all.map(one => one.text)")
    one = networks.index("r20, linf 8/255, untargeted")
    other = networks.index("r20-mean, linf 8/255, untargeted")
    page.select_option("#f-a", str(one))
    assert page.inner_text("#found") == "100 of 100 images"
    page.select_option("#f-by", "f1")
    assert page.inner_text("#found") == "20 of 100 images"
    assert set(desk.column(".drill", 4)) == {"pgd"}
    page.select_option("#f-by", "")
    assert page.is_disabled("#f-agree")
    page.select_option("#f-b", str(other))
    page.select_option("#f-agree", "b")
    assert page.inner_text("#found") == "5 of 100 images"
    page.select_option("#f-label", "3")
    assert desk.column(".drill", 2) == ["3"] * 5
    page.click(".drill th button:has-text('image')")
    ids = [int(text) for text in desk.column(".drill", 1)]
    assert ids == sorted(ids, reverse=True)


def test_a_count_of_what_broke_leads_to_those_images(desk: Opened) -> None:
    page = desk.page
    figure = page.locator("figure.bars", has_text="linf 8/255, untargeted").first
    figure.locator("summary").click()
    figure.get_by_role("button", name="30 images of r20, pgd 10").click()
    assert page.inner_text("#found") == "30 of 100 images"
    assert page.evaluate("document.activeElement.id") == "f-by"


def test_a_keyboard_alone_reaches_sorting_filters_and_commands(desk: Opened) -> None:
    page = desk.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen: list[str] = []
    for _ in range(400):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("(e => `${e.tagName}#${e.id}.${e.className}`)(document.activeElement)")
        )
        if seen[-1] == "BODY#.":
            break
    reached = " ".join(seen)
    for wanted in ("SELECT#f-a", "SELECT#f-label", "SUMMARY", "BUTTON", "A#", "DIV#drill.wide"):
        assert wanted in reached
    page.focus("#summary th button")
    page.keyboard.press("Enter")
    assert page.get_attribute("#summary th", "aria-sort") == "ascending"
    page.focus(".run summary")
    page.keyboard.press("Enter")
    assert page.locator(".run .command code").first.is_visible()


def test_on_paper_everything_folded_is_open(desk: Opened) -> None:
    desk.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert desk.page.locator("details:not([open])").count() == 0
    desk.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert desk.page.locator("details:not([open])").count() > 0


def test_the_view_shows_the_jobs_and_complains_of_nothing(browser: Any, path: Path) -> None:
    with viewer(path.parent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page, complaints = browser.new_page(), list[str]()
        page.on("console", lambda one: complaints.append(one.text))
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector("#jobs progress")
        assert page.inner_text("#line") == "0 running, 0 stopped, 6 finished"
        assert complaints == []
        page.close()
        server.shutdown()


def opening(browser: Any, path: Path) -> float:
    """Seconds of the page's own thread until its charts are there: other processes don't count."""
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    metrics = context.new_cdp_session(page)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    page.wait_for_selector("#iterations .chart svg")
    found = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}
    context.close()
    return float(found["TaskDuration"])


def test_the_page_opens_within_a_second(browser: Any, path: Path) -> None:
    assert 0 < opening(browser, path) < 1


def test_twenty_networks_under_ten_attacks_open_within_a_second(
    browser: Any, tmp_path: Path
) -> None:
    large(tmp_path)
    path = tmp_path / "report.html"
    path.write_text(page_text(build(tmp_path, read_runs(tmp_path))))
    assert 0 < opening(browser, path) < 1
