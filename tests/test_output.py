"""What commands print reaches any screen, escaped where it must be, and never ends their work."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import experiment_cases
import pytest

import fnn.runs.report.command_line as report_command
from fnn.experiment import Run, main, read_run
from fnn.files import shown, write_line

NAMES = ["данные", "½ done", "夏", os.fsdecode(b"byte\xff")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cats and Löwen, 夏", "cats and Löwen, 夏"),
        ("a\nb", r"a\nb"),
        ("a\r\x1b[2Jb\x07", r"a\r\x1b[2Jb\x07"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("a\u2028b\x85c\x00", r"a\u2028b\x85c\x00"),
        ("half \udcff", r"half \udcff"),
        ("far\U000e0001", r"far\U000e0001"),
        ("narrow\u202fspace\xa0", "narrow\u202fspace\xa0"),
        (Path("a\tb"), r"a\tb"),
    ],
)
def test_names_are_shown_in_one_line_that_moves_no_cursor(text, expected):
    assert shown(text) == expected
    assert "\n" not in shown(text)


def test_a_text_of_several_lines_keeps_them():
    assert shown("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1", "utf-8", "utf-16"])
def test_a_line_is_written_in_any_encoding(encoding):
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as stream:
        for name in NAMES:
            write_line(name, stream)
        lines = raw.getvalue().decode(encoding).splitlines()
    assert len(lines) == len(NAMES)
    assert lines[0] == (
        "данные" if encoding.startswith("utf") else "данные".encode("unicode_escape").decode()
    )
    assert lines[3] == r"byte\udcff"


def test_a_stream_that_is_closed_full_or_missing_ends_nothing(monkeypatch):
    closed = io.StringIO()
    closed.close()
    write_line("lost", closed)
    assert closed.closed
    monkeypatch.setattr(sys, "stdout", None)
    write_line("lost")
    assert sys.stdout is None
    if os.path.exists("/dev/full"):
        stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
        write_line("lost", stream)
        with contextlib.suppress(OSError):
            stream.close()


@pytest.mark.skipif(os.name == "nt", reason="pipes as POSIX has them")
def test_nobody_reading_any_more_ends_nothing_either():
    code = (
        "import sys; from fnn.files import write_line\n"
        "sys.stdin.read()\n"
        "for i in range(3): write_line('lost')\n"
        "sys.stderr.write('done')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == "done"
        assert process.wait(20) == 0


@contextlib.contextmanager
def screen(encoding):
    """Standard output and error of a console that knows few letters, strictly."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict", write_through=True)
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        yield raw


FEW = pytest.mark.parametrize("encoding", ["ascii", "cp1252"])


@FEW
@pytest.mark.parametrize("name", NAMES)
def test_every_command_ends_well_in_a_folder_whose_name_the_screen_cannot_show(
    tmp_path, encoding, name
):
    try:
        folder = tmp_path / name / "run"
        folder.parent.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("no such names here")
    train, config = experiment_cases.train, experiment_cases.Config
    with screen(encoding) as raw:
        run_all_commands(train, config, folder)
        told = raw.getvalue()
    assert read_run(folder)["status"] == "finished"
    assert (folder / "report.html").is_file()
    assert b"Traceback" not in told
    assert name.encode(encoding, "backslashreplace") in told


def run_all_commands(train, config, folder):
    main(train, config, ["--out", str(folder), "--epochs", "1", "--examples", "40"])
    main(train, config, ["resume", str(folder)])
    main(train, config, ["replay", str(folder)])
    assert report_command.main([str(folder)]) == 0
    with pytest.raises(SystemExit) as ended:
        main(train, config, ["resume", str(folder.parent / "none")])
    assert ended.value.code == 1
    assert report_command.main([str(folder.parent / "none")]) == 1


@FEW
def test_a_sweep_ends_well_there_too(tmp_path, encoding):
    folder = tmp_path / "данные" / "sweep"
    words = ["sweep", "--seeds", "1", "--workers", "1", "--epochs", "1", "--examples", "40"]
    with screen(encoding):
        main(experiment_cases.train, experiment_cases.Config, [*words, "--out", str(folder)])
    assert json.loads((folder / "sweep.json").read_text())["members"]


@FEW
def test_help_and_what_a_script_prints_itself_end_well_there_too(tmp_path, encoding):

    doc = sys.modules[experiment_cases.train.__module__].__doc__
    module = sys.modules[experiment_cases.train.__module__]

    def train(config, run):
        sys.stdout.write("данные ½\n")
        return {}

    train.__module__ = module.__name__
    with screen(encoding) as raw:
        try:
            module.__doc__ = "28×28 pixels, a share of ½, данные."
            for words in (["--help"], ["sweep", "--help"], ["--epochs", "данные"]):
                with pytest.raises(SystemExit):
                    main(train, experiment_cases.Config, words)
        finally:
            module.__doc__ = doc
        with pytest.raises(SystemExit):
            report_command.main(["--help"])
        main(train, experiment_cases.Config, ["--out", str(tmp_path / "run")])
        sys.stdout.flush()
        assert "данные".encode(encoding, "backslashreplace") in raw.getvalue()
        with pytest.raises(UnicodeEncodeError):
            sys.stdout.write("данные")
    assert (tmp_path / "run" / "run.json").is_file()


@FEW
def test_fetching_ends_well_there_too(tmp_path, encoding):
    fetch = pytest.importorskip("fnn.datasets.__main__")
    pytest.importorskip("pooch", reason="fetching needs pooch (extra `data`)")
    folder = tmp_path / "данные"
    words = ["fetch", "mnist", "--out", str(folder)]
    with screen(encoding):
        assert fetch.main(words, mirrors=[], sha256={}) == 0
        assert fetch.main(words, mirrors=[], sha256={"a": "b"}) == 1


def test_what_a_run_says_of_strangers_names_is_escaped_in_its_log(tmp_path, capsys):
    Run(tmp_path).say("cat\x1b[2J and half \udcff\nnext line")
    expected = "cat\\x1b[2J and half \\udcff\nnext line\n"
    assert capsys.readouterr().out == expected
    assert (tmp_path / "log.txt").read_text("utf-8") == expected
