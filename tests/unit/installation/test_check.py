"""Test `twin check` and its reporting plugin: stages, arguments, counts and skip reasons."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from checkout import check
from twin_cli import operating_group
from twin_cli.running import run

from tests.reporting import is_known

ROOT = Path(__file__).resolve().parents[3]


def read_mark_expression(stage: check.Stage) -> str:
    """Return the expression after pytest's `-m`, or an empty string."""
    words = stage.command[3:]
    return words[words.index("-m") + 1] if "-m" in words else ""


def test_the_length_selects_the_stages() -> None:
    fast_stages = check.build_pytest_stages([], "fast", changed_tests=["tests/graph/corpus"])
    assert [stage.name for stage in fast_stages] == ["unit and changed graph"]
    assert fast_stages[0].command[-2:] == ("tests/graph/corpus", "tests/unit")
    assert read_mark_expression(fast_stages[0]) == "not long"
    no_live_stages = check.build_pytest_stages([], "no-live")
    assert [stage.name for stage in no_live_stages] == ["unit and graph"]
    assert no_live_stages[0].command[-2:] == ("tests/graph", "tests/unit")
    short_stages = check.build_pytest_stages(["-k", "tables", "-x"], "short")
    assert [stage.name for stage in short_stages] == ["unit and graph", "live", "gpu"]
    assert all({"-k", "tables", "-x"} <= set(stage.command) for stage in short_stages)
    assert [read_mark_expression(stage) for stage in short_stages] == ["not long"] * 3
    assert "-n" in short_stages[0].command
    assert "-n" in short_stages[1].command
    assert "-n" not in short_stages[2].command  # runs alone
    assert short_stages[2].command[-1] == "tests/gpu"
    long_stages = check.build_pytest_stages([], "long")
    assert [read_mark_expression(stage) for stage in long_stages] == ["", "", ""]


def run_tests(folder: Path, source: str, *arguments: str) -> check.CheckOutcome:
    """Run pytest with the plugin in a separate process, as `twin check` does."""
    (folder / "test_sample.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n")
    base = (sys.executable, "-m", "pytest", "-p", "tests.reporting", "-q", *arguments)
    # The run is outside the project, hence PYTHONPATH; every other plugin costs a second.
    variables = (f"PYTHONPATH={ROOT}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1")
    command = ("env", *variables, *base, str(folder / "test_sample.py"))
    outcome = check.CheckOutcome()
    check.run_pytest_stage(check.Stage("sample", command), outcome, cwd=folder)
    return outcome


@pytest.mark.parametrize("arguments", [(), ("-p", "xdist", "-n", "2")])
def test_tests_are_counted_once_and_skips_by_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    source = """
import pytest

def test_right(): pass
def test_wrong(): assert False
@pytest.mark.skip(reason="no GPU: an NVIDIA GPU would run this")
def test_left_out(): pass
@pytest.fixture
def broken():
    yield
    raise RuntimeError("in teardown")
def test_breaks_at_its_end(broken): pass
"""
    outcome = run_tests(tmp_path, source, *arguments)
    assert outcome.counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert outcome.skip_reasons == {"no GPU: an NVIDIA GPU would run this": 1}
    assert outcome.failed_stages == ["sample"]
    output = capfd.readouterr().out
    assert "1 × no GPU: an NVIDIA GPU would run this" in output
    position = output.index("FAILED in call: test_sample.py::test_wrong: assert False")
    assert position < output.index("= FAILURES =")
    assert "FAILED in teardown: test_sample.py::test_breaks_at_its_end: RuntimeError" in output


def test_an_unknown_reason_fails_the_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = """
import pytest

def test_right(): pass
def test_left_out(): pytest.skip("did not feel like it")
"""
    outcome = run_tests(tmp_path, source)
    assert outcome.failed_stages == ["sample"]
    assert outcome.counts["failed"] == 1
    assert "does not list: did not feel like it" in capfd.readouterr().out
    assert not is_known("did not feel like it")
    assert is_known("shared data absent: set TWIN_SHARED_DATA to run this test")


def test_a_file_that_cannot_be_imported_is_a_failure(tmp_path: Path) -> None:
    outcome = run_tests(tmp_path, "import a_module_that_is_nowhere\n")
    assert (outcome.counts["failed"], outcome.failed_stages) == (1, ["sample"])


@pytest.fixture
def small_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a project with one test, on which `twin check` runs."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text("def test_one(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = long: long form\n")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(check, "PROJECT", tmp_path)
    return tmp_path


def test_no_selected_test_is_a_failure(
    small_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "build_static_stages", lambda _project: [])
    assert check.main(["tests/test_one.py", "-k", "no_test_has_this_name"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "0 passed, 1 failed, 0 skipped"
    assert "  FAILED: no test was selected" in lines


def test_the_last_line_has_the_counts(
    small_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = check.Stage("lint", (sys.executable, "-c", "print('x.py:1'); raise SystemExit(1)"))
    monkeypatch.setattr(check, "build_static_stages", lambda _project: [stage])
    assert check.main(["tests/test_one.py"]) == 1
    output = capsys.readouterr().out
    assert "x.py:1" in output  # the output of a failed stage is shown
    assert output.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"
    monkeypatch.setattr(check, "build_static_stages", lambda _project: [])
    assert check.main(["--fast", "tests/test_one.py"]) == 0


def test_an_installed_package_has_no_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed_file = tmp_path / "twin_cli" / "operating_group.py"
    monkeypatch.setattr(operating_group, "__file__", str(installed_file))
    assert run(["check"]) == 1
    message = "`twin check` works only in a checkout: run deploy/check.sh there\n"
    assert capsys.readouterr() == ("", message)
    assert run(["check", "--help"]) == 0
    output = capsys.readouterr().out
    assert "Usage: twin check" in output
    assert output.endswith(message)
