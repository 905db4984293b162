"""Reports in a real browser, narrow and wide, light and dark; skipped where there is no Chromium."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest
from report_cases import make_run

import fnn
from fnn.runs.experiment.network_table import network_table
from fnn.runs.report import write

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or os.name == "nt", reason="no Chromium on the path, or no pipes to speak to it"
)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe",
]  # fmt: skip
# The protocol reads from descriptor 3 and writes to 4; on the way there neither may hide the other.
LAUNCH = """import os, sys
inward, outward = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2]))
while min(inward, outward) < 5:
    inward, outward = os.dup(inward), os.dup(outward)
os.dup2(inward, 3)
os.dup2(outward, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
SECONDS = 30
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


class Browser:
    """A Chromium that is spoken to over two pipes in the DevTools protocol."""

    def __init__(self, home):
        inward, self.to = os.pipe()
        self.since, outward = os.pipe()
        command = [sys.executable, "-c", LAUNCH, str(inward), str(outward), CHROMIUM, *FLAGS]
        self.process = subprocess.Popen(
            [*command, f"--user-data-dir={home}", "about:blank"],
            pass_fds=(inward, outward), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(inward)
        os.close(outward)
        self.numbers, self.rest, self.events, self.session = itertools.count(1), b"", [], {}
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def read(self):
        end = time.monotonic() + SECONDS
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.since], [], [], max(0, end - time.monotonic()))
            came = os.read(self.since, 1 << 20) if ready else b""
            if not came:
                raise TimeoutError("the browser says nothing any more")
            self.rest += came
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params, **self.session}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (came := self.read()).get("id") != number:
            self.events.append(came)
        assert "error" not in came, came
        return came["result"]

    def look(self, path, width, scheme):
        """Open a page and return what it measures, what it complained of and what it loaded."""
        self.events.clear()
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())
        seen = self.call("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"]
        told = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        loud = [event for event in self.events if event.get("method") in told]
        asked = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        urls = {event["params"]["request"]["url"][:5] for event in asked}
        return seen, loud, urls

    def close(self):
        os.close(self.to)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.since)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


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
    seen, loud, urls = browser.look(html_file, width, scheme)
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
    seen, loud, _ = browser.look(html_file, width, "light")
    assert loud == []
    assert seen["width"] <= width
    assert seen["cut"] == []
    wide = max(right - left for _, _, _, left, right in seen["sizes"])
    assert wide > 600  # Large enough to read.


def test_the_numbers_that_the_browser_shows_are_those_of_the_run(browser, runs, tmp_path):
    html_file, _ = write(runs[:1], tmp_path / "out")
    seen, _, _ = browser.look(html_file, 390, "light")
    result = json.loads((runs[0] / "run.json").read_text())["result"]
    for name in ("test_accuracy", "parameters"):
        assert seen["values"].count(str(result[name])) == 2
    assert seen["shown"] == [f"{100 * result['test_accuracy']:.2f} %", "5,874", "30.0 s"]


def test_hostile_text_runs_nothing_in_the_browser(browser, tmp_path):
    evil = "<img src=x onerror=\"console.log('ran')\"><script>console.log('ran')</script>" + "x" * 300
    folder = make_run(tmp_path / "run", about={"experiment": evil, "status": evil}, result={evil: 1.0})
    html_file, _ = write([folder])
    seen, loud, urls = browser.look(html_file, 390, "light")
    assert loud == []
    assert urls <= {"file:", "data:"}
    assert seen["width"] <= 390
