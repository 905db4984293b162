"""The pytest plugin: a layer of one's own proved in one line, readable failures, profiles, no cost."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fnn.testing import pytest_plugin

pytest_plugins = "pytester"

EXAMPLE = """
import numpy as np
import fnn

def f(x):
    return x / (1 + np.exp(-x))

def f_vjp(x, y, dy):
    gate = 1 / (1 + np.exp(-x))
    return (gate + y * (1 - gate)) * dy

def Swish():
    return fnn.elementwise("swish", f, f_vjp)

def test_swish_is_right(check_layer):
    check_layer(Swish(), (5,))
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("CI", "FNN_PROFILE", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


def test_a_layer_of_ones_own_of_fifteen_lines_is_proved_in_one(pytester):
    code = [line for line in EXAMPLE.splitlines() if line]
    assert len(code) <= 15
    pytester.makepyfile(EXAMPLE)
    pytester.runpytest_inprocess("-W", "error").assert_outcomes(passed=1)


def test_a_wrong_layer_fails_with_its_report_and_the_users_line_and_nothing_of_the_kit(pytester):
    path = pytester.makepyfile(EXAMPLE.replace("(gate + y * (1 - gate))", "gate"))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*> *check_layer(Swish(), (5,))", "*swish*breaks * of * laws*", "*adjoint: swish*at *dx*"]
    )
    output = result.stdout.str()
    assert f"{path.name}:15: " in output
    assert "fnn/testing" not in output.replace("\\", "/")
    assert "__tracebackhide__" not in output


def test_the_error_of_the_fixture_is_the_error_of_the_function(pytester):
    pytester.makepyfile(
        """
        import fnn, pytest
        from fnn.testing import LawError

        def test_it(check_layer):
            report = check_layer(fnn.Tanh(), (2,), laws=["adjoint"])
            assert report.laws == ("adjoint",)
            wrong = fnn.elementwise("wrong", lambda x: 2 * x, lambda x, y, dy: 3 * dy)
            with pytest.raises(LawError) as caught:
                check_layer(wrong, (2,))
            assert "adjoint" in caught.value.report.broken
            with pytest.raises(fnn.OptionError):
                check_layer(fnn.Tanh, (2,))
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_the_fixture_goes_together_with_given(pytester):
    pytester.makepyfile(
        """
        from hypothesis import given, settings
        from fnn.testing.strategies import layers

        @settings(max_examples=3, deadline=None)
        @given(layer=layers((3,)))
        def test_it(check_layer, layer):
            check_layer(layer, (3,), laws=["shapes"])
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


# --- profiles -------------------------------------------------------------------------------

SHOW = """
    from hypothesis import settings

    def test_show():
        now = settings.default
        name = settings.get_current_profile_name()
        shown = (name, now.deadline is None, now.derandomize, now.print_blob)
        assert shown == "nothing", shown
"""


def shown(pytester, *args, conftest=""):
    pytester.makepyfile(test_show=SHOW)
    if conftest:
        pytester.makeconftest(conftest)
    result = pytester.runpytest_subprocess(*args)
    line = next(line for line in result.stdout.lines if line.startswith("E") and "('" in line)
    return ast.literal_eval(line[line.index("(") : line.index(")") + 1])


def test_without_a_choice_the_settings_of_hypothesis_stay(pytester):
    assert shown(pytester)[0] == "default"


def test_a_profile_is_chosen_by_option(pytester):
    assert shown(pytester, "--fnn-profile", "ci") == ("fnn-ci", True, True, True)
    assert shown(pytester, "--fnn-profile", "nightly") == ("fnn-nightly", True, False, True)


def test_a_profile_is_chosen_by_the_environment_and_the_option_wins(pytester, monkeypatch):
    monkeypatch.setenv("FNN_PROFILE", "nightly")
    monkeypatch.setenv("CI", "true")
    assert shown(pytester)[0] == "fnn-nightly"
    assert shown(pytester, "--fnn-profile", "dev")[0] == "fnn-dev"


def test_ci_has_its_profile_unless_the_suite_has_its_own(pytester, monkeypatch):
    monkeypatch.setenv("CI", "true")
    assert shown(pytester) == ("fnn-ci", True, True, True)
    conftest = """
        from hypothesis import settings
        settings.register_profile("own")
        settings.load_profile("own")
    """
    assert shown(pytester, conftest=conftest)[0] == "own"


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(pytester, monkeypatch):
    result = pytester.runpytest_subprocess("--fnn-profile", "weekly")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*invalid choice: 'weekly'*"])
    monkeypatch.setenv("FNN_PROFILE", "weekly")
    result = pytester.runpytest_subprocess()
    result.stderr.fnmatch_lines(["*FNN_PROFILE: expected one of *'ci'*, got 'weekly'"])


# --- what it costs those who do not use it --------------------------------------------------

WATCH = """
    import sys

    def test_what_is_loaded():
        assert "fnn.testing.pytest_plugin" in sys.modules
        assert {HEAVY} & set(sys.modules) == set()
"""


def test_a_suite_that_uses_nothing_of_it_does_not_load_hypothesis(pytester):
    pytester.makepyfile(WATCH.replace("{HEAVY}", repr({"hypothesis"})))
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_suite_that_uses_nothing_of_it_does_not_load_numpy(pytester):
    pytester.makepyfile(WATCH.replace("{HEAVY}", repr({"numpy", "attr", "fnn.layers.contract"})))
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_plugin_imports_pytest_and_nothing_else_of_weight():
    top = ast.parse(Path(pytest_plugin.__file__).read_text("utf-8")).body
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert names <= {"__future__", "os", "typing", "pytest"}


@pytest.fixture
def no_hypothesis(pytester, monkeypatch):
    """Let Hypothesis be missing in subprocesses."""
    folder = pytester.mkdir("missing")
    folder.joinpath("hypothesis.py").write_text("raise ImportError('not installed')\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "-p", "no:hypothesispytest"


def test_without_hypothesis_the_fixture_works_and_ci_is_no_trouble(
    pytester, monkeypatch, no_hypothesis
):
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile(EXAMPLE)
    pytester.runpytest_subprocess(*no_hypothesis).assert_outcomes(passed=1)


def test_a_profile_without_hypothesis_is_refused_with_the_way_to_get_it(pytester, no_hypothesis):
    result = pytester.runpytest_subprocess(*no_hypothesis, "--fnn-profile", "ci")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*needs Hypothesis: pip install 'fnn[[]test]'"])


def test_the_plugin_is_found_by_its_entry_point(pytester):
    result = pytester.runpytest_subprocess("--help")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*--fnn-profile*"])
