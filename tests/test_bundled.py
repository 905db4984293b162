"""What comes along: the play and the tables are what their READMEs say, and their script makes them."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import fnn
from fnn.errors import DataError, OptionError

DATA = Path(__file__).resolve().parents[1] / "data"
FILES = [path for path in sorted(DATA.glob("*/*")) if path.suffix in (".txt", ".csv")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_readme_has_every_file_with_its_digest_and_none_is_large(path):
    about = (path.parent / "README.md").read_text("utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert re.search(rf"`{path.name}` .*`{digest}`", about)
    assert path.stat().st_size <= 200_000
    assert "**Source**" in about
    assert "**Licence**" in about
    assert f"`{path.parent.name}/`" in (DATA / "README.md").read_text("utf-8")


def test_the_play_is_whole_and_parted_between_speeches():
    text = fnn.coriolanus()
    assert (len(text), text.isascii()) == (154_469, True)
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n")
    assert text.endswith("Yet he shall have a noble memory. Assist.\n")
    train, test = fnn.coriolanus("train"), fnn.coriolanus("test")
    assert train + test == text
    assert 0.9 <= len(train) / len(text) < 0.91
    assert train.endswith("\n\n")
    assert re.match(r"[A-Z][A-Za-z ]+:\n", test)
    codec = fnn.Characters.fit(text)
    assert set(test) <= set(train)
    assert len(fnn.text_windows(codec.encode(train), 64)) == (len(train) - 1) // 64
    with pytest.raises(OptionError, match="coriolanus: split: expected 'train' or 'test' or 'all'"):
        fnn.coriolanus("half")


def test_the_tables_are_what_their_script_makes(tmp_path):
    spec = importlib.util.spec_from_file_location("make_tables", DATA / "tables" / "make_tables.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write(tmp_path)
    for name in ("flats.csv", "machines.csv"):
        made, there = fnn.read_csv(tmp_path / name), fnn.read_csv(DATA / "tables" / name)
        assert list(made.columns) == list(there.columns)
        for column in made.columns:
            # To the last digit but for other mathematical libraries, which round otherwise.
            np.testing.assert_allclose(made[column].values, there[column].values, rtol=0, atol=0.11)


def test_the_tables_are_for_regression_and_for_imbalanced_classes():
    flats, machines = fnn.flats(), fnn.machines()
    assert (len(flats), len(machines)) == (2000, 3000)
    assert flats["built"].missing.mean() == pytest.approx(0.03, abs=0.01)
    data = flats.dataset(target="price", missing="fill")
    assert (data.x.shape, data.y.shape) == ((2000, 16), (2000, 1))
    failed = machines.dataset(target="failed")
    assert np.count_nonzero(failed.y) == 199
    train, test = failed.split(0.8, key=fnn.Key.of(0), stratify=failed.y)
    assert abs(train.y.mean() - test.y.mean()) < 0.002


def test_what_is_nowhere_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("fnn.datasets.bundled._FOLDERS", (str(tmp_path),))
    for name in ("coriolanus", "flats", "machines"):
        with pytest.raises(DataError, match=f"{name}: expected one of the folders .*got none"):
            getattr(fnn, name)()
    (tmp_path / "shakespeare").mkdir()
    with pytest.raises(DataError, match=r"coriolanus\.txt: expected the play, got .*No such file"):
        fnn.coriolanus()
    (tmp_path / "shakespeare" / "coriolanus.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"coriolanus\.txt: expected the play"):
        fnn.coriolanus()
