"""A headless Chromium for the tests of pages, spoken to in its DevTools protocol."""

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

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(
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

    def show(self, url, width, scheme="light", *, height=844, touch=False):
        """Open a page in a window of that size."""
        self.events.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())

    def value(self, expression):
        """Return what an expression of JavaScript comes to, as JSON has it; promises are waited for."""
        options = {"returnByValue": True, "awaitPromise": True}
        came = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in came, came
        return came["result"].get("value")

    def until(self, expression, seconds=SECONDS):
        """Wait until an expression of JavaScript is true."""
        end = time.monotonic() + seconds
        while not (found := self.value(expression)):
            assert time.monotonic() < end, expression
            time.sleep(0.02)
        return found

    def complaints(self):
        """Return what the page has written on its console, and what was not caught."""
        told = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [event for event in self.events if event.get("method") in told]

    def asked(self):
        """Return the addresses of all that the page has loaded."""
        asked = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return {event["params"]["request"]["url"] for event in asked}

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
    """Give a browser that is there for all tests of a file."""
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()
