"""The API reference is made from the docstrings by one command, without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from inspect import ismodule
from pathlib import Path

import pytest

import fnn

pytest.importorskip("pdoc")
README = Path(__file__).resolve().parents[1] / "experiments/README.md"


class Page(HTMLParser):
    """What a page can be asked for, and what it asks for."""

    def __init__(self):
        super().__init__()
        self.ids, self.links = set(), set()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id"))
        self.links.add(given.get("href") or given.get("src"))


def test_every_public_name_is_there_and_every_link_leads_somewhere(tmp_path):
    (command,) = re.findall(r"python (-m pdoc [^`]*) -o out/docs", README.read_text("utf-8"))
    args = [part.strip("'") for part in command.split()]
    done = subprocess.run(
        [sys.executable, "-W", "error", *args, "-o", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    pages = {}
    for path in tmp_path.rglob("*.html"):
        pages[path] = Page()
        pages[path].feed(path.read_text("utf-8"))
    names = {name for name in fnn.__all__ if not ismodule(getattr(fnn, name))}
    assert names - {"__version__"} <= pages[tmp_path / "fnn.html"].ids
    assert "check_layer" in pages[tmp_path / "fnn/testing.html"].ids
    for path, page in pages.items():
        for link in filter(None, page.links):
            assert not link.startswith("http") or "pdoc" in link
            where, _, anchor = link.partition("#")
            if where and not where.startswith(("http", "data:")):
                assert (path.parent / where).exists(), link
            if anchor and not where:
                assert anchor in page.ids, link
