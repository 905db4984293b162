"""A run's folder says which program trained it, and no other goes on with it unasked."""

import importlib.util
import json
import os
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import experiment_cases
import pytest

from fnn.errors import DataError
from fnn.experiment import execute, main, read_run, replay, resume
from fnn.runs.experiment.program import history, last_program, program_of
from fnn.runs.report.reading import read
from fnn.runs.sweep import sweep

SCRIPT = '''"""Train with a helper."""
import os
from pathlib import Path
import attrs
import fnn
import helper
from package import inner
from fnn.runs.experiment import option

@attrs.frozen
class Config:
    out: Path = option(Path("out/script"), "folder")

def train(config, run):
    if "LATE" in os.environ:
        import late
    fit = run.fit(
        fnn.Dense(10), fnn.softmax_cross_entropy, fnn.sgd(helper.RATE), fnn.digits("train").take(40),
        epochs=4, batch_size=20, key=fnn.Key.of(0), callbacks=helper.listen, save_seconds=0,
    )
    run.record(steps=fit.last.step)
    return {"steps": fit.last.step}

def other(config, run):
    return train(config, run)
'''
HELPER = """
import os
RATE = 0.1

def listen(now, history):
    if os.environ.get("STOP") == str(len(history)):
        raise KeyboardInterrupt
    if os.environ.get("STOP") == "error":
        raise RuntimeError
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a script and its modules; importing the script is like starting a process."""
    folder = tmp_path / "project"
    (folder / "package").mkdir(parents=True)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "helper.py").write_text(HELPER)
    (folder / "late.py").write_text("")
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "inner.py").write_text("WIDTH = 3\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(folder)
    yield folder
    forget(folder)


def forget(folder):
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()


def started(folder, name="script"):
    """Import the script as a fresh process would."""
    forget(folder)
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stopped(project, monkeypatch, out, after=2):
    """Leave a run that was interrupted after some epochs."""
    script = started(project)
    with monkeypatch.context() as patch:
        patch.setenv("STOP", str(after))
        with pytest.raises(KeyboardInterrupt):
            execute(script.train, script.Config(out=out))
    return read_run(out)


def test_run_json_holds_a_digest_of_the_script_of_its_modules_and_of_the_library(project, tmp_path):
    script = started(project)
    execute(script.train, script.Config(out=tmp_path / "run"))
    about = read_run(tmp_path / "run")
    assert list(about["modules"]) == ["helper.py", "package/__init__.py", "package/inner.py"]
    digests = [about["script"], about["fnn"], *about["modules"].values()]
    assert all(len(digest) == 64 for digest in digests)
    assert len(set(digests)) == 5
    assert about["train"] == "train"


def test_a_module_that_training_imports_late_is_recorded_too(project, tmp_path, monkeypatch):
    monkeypatch.setenv("LATE", "1")
    stopped(project, monkeypatch, tmp_path / "run")
    assert "late.py" in read_run(tmp_path / "run")["modules"]
    # A fresh process has not imported it when it is asked whether to go on.
    (project / "late.py").write_text("edited = True\n")
    script = started(project)
    with pytest.raises(DataError, match=r"the program changed since it ran: late\.py: "):
        resume(script.train, script.Config, tmp_path / "run")


@pytest.mark.parametrize("name", ["helper.py", "package/inner.py", "package/__init__.py", "script.py"])
def test_a_resume_after_an_edit_is_refused_and_leaves_all_as_it_was(
    project, tmp_path, monkeypatch, name
):
    stopped(project, monkeypatch, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with (project / name).open("a") as file:
        file.write("# edited\n")
    script = started(project)
    shown = "script" if name == "script.py" else name
    expected = (
        rf"run: the program changed since it ran: {shown}: \w{{12}} -> \w{{12}}; undo that, or go on"
    )
    with pytest.raises(DataError, match=expected):
        resume(script.train, script.Config, tmp_path / "run")
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert after == before
    (project / name).write_text((project / name).read_text().replace("# edited\n", ""))
    script = started(project)
    assert resume(script.train, script.Config, tmp_path / "run") == {"steps": 8}


def test_a_module_that_is_gone_is_a_change(project, tmp_path, monkeypatch):
    stopped(project, monkeypatch, tmp_path / "run")
    (project / "script.py").write_text(SCRIPT.replace("from package import inner\n", ""))
    (project / "package" / "inner.py").unlink()
    script = started(project)
    expected = r"script: .*; package/inner\.py: \w{12} -> gone; undo"
    with pytest.raises(DataError, match=expected):
        resume(script.train, script.Config, tmp_path / "run")


def test_another_function_of_the_same_script_is_another_program(project, tmp_path, monkeypatch):
    stopped(project, monkeypatch, tmp_path / "run")
    script = started(project)
    with pytest.raises(DataError, match="changed since it ran: train: train -> other"):
        resume(script.other, script.Config, tmp_path / "run")


def test_the_record_says_from_which_step_on_which_program_ran(project, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    first = stopped(project, monkeypatch, out, after=1)
    (project / "helper.py").write_text(HELPER.replace("0.1", "0.2"))
    script = started(project)
    with monkeypatch.context() as patch:
        patch.setenv("STOP", "3")
        with pytest.raises(SystemExit) as ended:
            main(script.train, script.Config, ["resume", str(out), "--changed-code"])
    assert ended.value.code == 130
    assert "resumed with a changed program: helper.py: " in capsys.readouterr().out
    # The program of the second part goes on unasked, that of the first does not.
    script = started(project)
    resume(script.train, script.Config, out)
    about = read_run(out)
    assert about["modules"] == first["modules"]
    changed, same = about["resumed"]
    assert (changed["steps"], same["steps"]) == ([2], [6])
    assert changed["program"]["modules"]["helper.py"] != first["modules"]["helper.py"]
    assert [line.split(": ")[0] for line in changed["changed"]] == ["modules.helper.py"]
    assert "program" not in same
    assert same["changed"] == []
    assert last_program(about) == changed["program"]
    lines = replay(script.train, script.Config, out).lines
    assert "program: changed from step 2 on: helper.py" in lines
    notes = read(out).notes
    assert "The program changed from step 2 on: helper.py." in notes


def test_a_replay_names_the_modules_that_changed(project, tmp_path):
    script = started(project)
    execute(script.train, script.Config(out=tmp_path / "run"))
    (project / "helper.py").write_text(HELPER.replace("0.1", "0.2"))
    script = started(project)
    done = replay(script.train, script.Config, tmp_path / "run")
    assert not done.identical
    at = done.lines.index("conditions that changed:")
    assert [line.split(": ")[0] for line in done.lines[at + 1 :]] == ["modules.helper.py"]
    (project / "helper.py").write_text(HELPER + "# a remark\n")
    script = started(project)
    done = replay(script.train, script.Config, tmp_path / "run")
    assert done.identical
    assert any(line.startswith("modules.helper.py: ") for line in done.lines)


def test_the_library_is_reported_and_no_reason_to_refuse(project, tmp_path, monkeypatch):
    about = stopped(project, monkeypatch, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps({**about, "fnn": "0" * 64}))
    script = started(project)
    resume(script.train, script.Config, tmp_path / "run")
    (again,) = read_run(tmp_path / "run")["resumed"]
    assert [line.split(": ")[0] for line in again["changed"]] == ["fnn"]


@pytest.mark.parametrize(
    "missing", [("modules", "fnn", "train"), ("modules", "fnn", "train", "script")]
)
def test_runs_of_an_older_library_resume_and_replay(project, tmp_path, monkeypatch, missing):
    about = stopped(project, monkeypatch, tmp_path / "run")
    about = {name: value for name, value in about.items() if name not in missing}
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    script = started(project)
    assert resume(script.train, script.Config, tmp_path / "run") == {"steps": 8}
    assert not set(missing) & read_run(tmp_path / "run").keys()
    done = replay(script.train, script.Config, tmp_path / "run")
    assert done.identical
    unchecked = next(line for line in done.lines if line.startswith("unchecked: "))
    assert all(name in unchecked for name in missing)


def test_installed_packages_and_the_library_are_no_modules_of_the_script(project, tmp_path):
    for name in (".venv/lib/site-packages", "vendored"):
        (project / name).mkdir(parents=True)
    sys.path[:0] = [str(project / ".venv/lib/site-packages"), str(project / "vendored")]
    (project / ".venv/lib/site-packages/installed_thing.py").write_text("")
    (project / "vendored/vendored_thing.py").write_text("")
    (project / "helper.py").write_text(HELPER + "import installed_thing, vendored_thing\n")
    try:
        modules = program_of(started(project).train).modules
    finally:
        del sys.path[:2]
    assert "vendored/vendored_thing.py" in modules
    assert not [name for name in modules if "installed_thing" in name]


def test_an_editable_library_beside_the_script_is_not_taken_for_its_modules():
    names = program_of(experiment_cases.train).modules
    assert not [name for name in names if name.startswith("fnn/")]


def test_modules_of_a_packages_script_lie_below_the_package(project):
    (project / "package" / "deep").mkdir()
    (project / "package" / "deep" / "__init__.py").write_text("")
    (project / "package" / "deep" / "run.py").write_text(
        "from package import inner\n\ndef train(config, run): ...\n"
    )
    forget(project)
    module = importlib.import_module("package.deep.run")
    names = {"package/__init__.py", "package/deep/__init__.py", "package/inner.py"}
    assert {f"package/{name}" for name in program_of(module.train).modules} == names


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="makes links")
def test_a_script_that_is_reached_by_a_link_has_the_modules_beside_it(project, tmp_path):
    (tmp_path / "link").symlink_to(project)
    direct = program_of(started(project).train).modules
    # Python takes the folder of the script as it is, and that of its modules as it stands in sys.path.
    spec = importlib.util.spec_from_file_location("script", tmp_path / "link" / "script.py")
    module = sys.modules["script"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert program_of(module.train).modules == direct


def test_modules_in_an_archive_have_a_digest(project):
    with zipfile.ZipFile(project / "more.zip", "w") as archive:
        archive.writestr("zipped_thing.py", "X = 1\n")
    sys.path.insert(0, str(project / "more.zip"))
    (project / "helper.py").write_text(HELPER + "import zipped_thing\n")
    try:
        modules = program_of(started(project).train).modules
    finally:
        del sys.path[0]
    assert len(modules["more.zip/zipped_thing.py"]) == 64


def test_what_is_edited_after_its_import_is_recorded_as_what_runs(project, tmp_path):
    script = started(project)
    first = program_of(script.train).modules["helper.py"]
    (project / "helper.py").write_text("raise RuntimeError\n")
    assert program_of(script.train).modules["helper.py"] == first
    execute(script.train, script.Config(out=tmp_path / "run"))
    assert read_run(tmp_path / "run")["modules"]["helper.py"] == first


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"modules": 3}, "modules: expected digests by path, got 3"),
        (
            {"modules": {"../secret": "0"}},
            "digests by paths below the script, got '../secret'",
        ),
        ({"modules": {"/etc/passwd": "0"}}, "expected digests by paths below the script"),
        ({"modules": {"": "0"}}, "expected digests by paths below the script"),
        ({"modules": {"a.py": 3}}, "expected digests by paths below the script, got 'a.py': 3"),
        ({"script": 3}, "script: expected text, got 3"),
        ({"resumed": [3]}, "resumed: expected objects with a program, got 3"),
        ({"resumed": [{"program": 3}]}, "resumed: expected objects with a program"),
        ({"resumed": [{"program": {"modules": {"..": ""}}}]}, "below the script, got '..'"),
        ({"train": []}, r"train: expected text, got \[\]"),
    ],
)
def test_a_record_that_a_stranger_wrote_is_refused_by_its_entry(
    project, tmp_path, monkeypatch, entries, message
):
    about = stopped(project, monkeypatch, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps({**about, **entries}))
    script = started(project)
    with pytest.raises(DataError, match=rf"run\.json: .*{message}"):
        resume(script.train, script.Config, tmp_path / "run")


@pytest.mark.parametrize(
    "entries",
    [
        {"resumed": 3},
        {"resumed": [3, {"program": 3}, {"steps": {}}]},
        {"modules": 3, "resumed": [{"program": {"modules": []}, "steps": "x"}]},
        {"resumed": [{"program": {"modules": {"a" * 9999: 1}}, "steps": ["9" * 9999] * 99}]},
    ],
)
def test_a_report_takes_whatever_a_stranger_says_of_programs(entries):
    assert max(map(len, history(entries)), default=0) < 1000


@pytest.mark.parametrize("changed_code", [False, True])
def test_a_sweep_goes_on_with_members_of_an_edited_program_when_it_is_told_to(
    project, tmp_path, monkeypatch, changed_code
):
    def swept(**options):
        script = started(project)
        with ThreadPoolExecutor(1) as pool:
            configs = {"a": script.Config(out=tmp_path)}
            return sweep(script.train, configs, out=tmp_path / "sweep", executor=pool, **options)

    with monkeypatch.context() as patch:
        patch.setenv("STOP", "error")
        assert "RuntimeError" in swept().members["a"].error
    (project / "helper.py").write_text(HELPER.replace("0.1", "0.2"))
    done = swept(changed_code=changed_code)
    assert done.finished == changed_code
    if not changed_code:
        assert "the program changed since it ran: helper.py: " in done.members["a"].error
