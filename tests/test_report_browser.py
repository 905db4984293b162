"""Reports in a real browser, narrow and wide, light and dark; skipped where there is no Chromium."""

from __future__ import annotations

import json

import pytest
from browser_cases import browser, needs_chromium
from report_cases import make_run

import fnn
from fnn.runs.experiment.network_table import network_table
from fnn.runs.report import write

pytestmark = needs_chromium
__all__ = ["browser"]
# Of every picture and drawing: is it there, how large is it, does it stay within the window?
LOOK = """({
  width: document.scrollingElement.scrollWidth,
  values: [...document.querySelectorAll("data")].map(each => each.value),
  shown: [...document.querySelectorAll("dd data")].map(each => each.textContent),
  sizes: [...document.querySelectorAll("img, svg")].map(each => {
    const box = each.getBoundingClientRect();
    const drawn = each.tagName == "IMG" ? each.complete && each.naturalWidth : 1;
    return [box.width, box.height, drawn, box.left, box.right];
  }),
  cut: [...document.querySelectorAll("h1, h2, h3, p, dt, dd, figcaption, li")].filter(
    each => each.getClientRects().length && each.scrollWidth > each.clientWidth + 1
  ).map(each => each.textContent),
  ground: getComputedStyle(document.body).backgroundColor,
})"""


def look(browser, path, width, scheme):
    """Open a page and return what it measures, what it complained of and what it loaded."""
    browser.show(path.as_uri(), width, scheme)
    seen = browser.value(LOOK)
    return seen, browser.complaints(), {url[:5] for url in browser.asked()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder / f"{seed}-{rate}", seed=seed, rate=rate)
        for seed in (1, 2)
        for rate in (0.1, 0.3)
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("n_runs", [1, 4])
def test_a_report_fits_the_window_and_shows_its_pictures(
    browser, runs, n_runs, width, scheme, tmp_path
):
    html_file, _ = write(runs[:n_runs], tmp_path / "out")
    seen, loud, urls = look(browser, html_file, width, scheme)
    assert loud == []
    assert urls <= {"file:", "data:"}
    assert seen["width"] <= width
    assert seen["cut"] == []
    # 2 charts, the matrix, 15 examples, 4 filters and the network; 4 charts and it in a comparison.
    assert len(seen["sizes"]) == (23 if n_runs == 1 else 5)
    for wide, high, drawn, left, right in seen["sizes"]:
        assert min(wide, high) >= 20
        assert drawn
        assert left >= 0
        assert right <= width
    assert seen["ground"] == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 22, 26)")


@pytest.mark.parametrize("width", [320, 1280])
def test_a_wide_picture_of_a_network_is_scrolled_within_the_page(browser, width, tmp_path):
    ways = [fnn.named(f"way_{i}", fnn.residual(fnn.Dense(9), fnn.Relu())) for i in range(3)]
    net = fnn.serial(fnn.Flatten(), fnn.Dense(9), fnn.branch(*ways), fnn.Dense(10))
    table = {"network": repr(net), "layers": network_table(net, (1, 28, 28))}
    folder = make_run(tmp_path / "run", about=table, model=False)
    html_file, _ = write([folder])
    seen, loud, _ = look(browser, html_file, width, "light")
    assert loud == []
    assert seen["width"] <= width
    assert seen["cut"] == []
    wide = max(right - left for _, _, _, left, right in seen["sizes"])
    assert wide > 600  # Large enough to read.


def test_the_numbers_that_the_browser_shows_are_those_of_the_run(browser, runs, tmp_path):
    html_file, _ = write(runs[:1], tmp_path / "out")
    seen, _, _ = look(browser, html_file, 390, "light")
    result = json.loads((runs[0] / "run.json").read_text())["result"]
    for name in ("test_accuracy", "parameters"):
        assert seen["values"].count(str(result[name])) == 2
    assert seen["shown"] == [f"{100 * result['test_accuracy']:.2f} %", "5,874", "30.0 s"]


def test_hostile_text_runs_nothing_in_the_browser(browser, tmp_path):
    evil = "<img src=x onerror=\"console.log('ran')\"><script>console.log('ran')</script>" + "x" * 300
    folder = make_run(tmp_path / "run", about={"experiment": evil, "status": evil}, result={evil: 1.0})
    html_file, _ = write([folder])
    seen, loud, urls = look(browser, html_file, 390, "light")
    assert loud == []
    assert urls <= {"file:", "data:"}
    assert seen["width"] <= 390
