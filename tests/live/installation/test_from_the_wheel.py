"""Test the examples of deploy/docs/python.md with the installed wheel and without a checkout.

The snippets are run unchanged except for their paths.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.prepared_embedder import link_weights, prepare_weights
from tests.wheel import build_wheel
from twin_resources.authors import Author, write_author
from twin_resources.settings import load_settings

pytestmark = pytest.mark.live
PAGE = ROOT / "deploy" / "docs" / "python.md"
SAMPLE = ROOT / "deploy" / "samples" / "mara-lindqvist" / "_posts"
BIN = Path(sys.executable).parent

# Turns warnings about the snippet into errors; the assets may use deprecated parts of Dagster.
STRICT = """
import warnings, dagster
for kind in (dagster.BetaWarning, dagster.PreviewWarning, dagster.SupersessionWarning, UserWarning):
    warnings.filterwarnings("error", category=kind)
warnings.filterwarnings("error", category=DeprecationWarning, module="__main__")
"""
MATERIALIZE = """
import dagster as dg, polars as pl
import twin_assets
from my_blog.definitions import HOME, defs
print("from", twin_assets.__file__)
with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions("authors", ["mara"])
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, partition_key="mara")
    assets = sorted(event.asset_key.to_user_string()
                    for event in result.get_asset_materialization_events())
    print("assets", *assets)
    print("posts", result.output_for_node("words_by_post").height)
    print("checks", {event.passed for event in result.get_asset_check_evaluations()})
"""


def read_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel as an installation would into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build_wheel(folder)) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def build_environment(site: Path, **variables: str) -> dict[str, str]:
    """Return an environment in which Python finds the unpacked wheel before the working tree."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TWIN_", "DAGSTER_", "LANGFUSE_"))
    }
    return inherited | {"PYTHONPATH": str(site)} | variables


def run(
    command: list[str], site: Path, *, cwd: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    completed = subprocess.run(
        command,
        cwd=cwd,
        env=build_environment(site, **environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed


def test_the_snippet_prints_a_polars_table_and_no_warning(site: Path, tmp_path: Path) -> None:
    assert (site / "twin_assets" / "py.typed").is_file()  # needed by type checkers
    snippet = next(block for block in read_blocks("python") if "write_author" in block)
    assert snippet.count("/path/to/posts") == 1
    script = tmp_path / "snippet.py"
    script.write_text(snippet.replace("/path/to/posts", str(SAMPLE)))
    strict = STRICT + f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    home = str(tmp_path / "home")
    completed = run([sys.executable, "-c", strict], site, cwd=tmp_path, TWIN_HOME=home)
    assert "shape: (40, 3)" in completed.stdout
    assert "published_at" in completed.stdout
    assert "Warning" not in completed.stderr, completed.stderr[-3000:]


def test_another_dagster_project_uses_the_assets_with_its_resources(
    site: Path, tmp_path: Path
) -> None:
    project, home = tmp_path / "project", tmp_path / "twin"
    (project / "my_blog").mkdir(parents=True)
    (project / "my_blog" / "__init__.py").touch()
    (project / "pyproject.toml").write_text('[project]\nname = "my-blog"\nversion = "1"\n')
    definitions = next(block for block in read_blocks("python") if "dg.Definitions(" in block)
    assert definitions.count("/srv/my_blog/twin") == 1
    definitions = definitions.replace("/srv/my_blog/twin", str(home))
    (project / "my_blog" / "definitions.py").write_text(definitions)
    (workspace,) = read_blocks("yaml")
    (project / "workspace.yaml").write_text(workspace)
    settings = load_settings(home)
    write_author(settings, Author(slug="mara", name="Mara", sources=(str(SAMPLE),)))
    link_weights(prepare_weights(), settings)
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").touch()
    # The project's resources name the home; TWIN_HOME must be ignored.
    environ = {"DAGSTER_HOME": str(dagster_home), "TWIN_HOME": str(tmp_path / "elsewhere")}

    command = next(line for line in read_blocks("bash")[0].splitlines() if "validate" in line)
    program, *arguments = command.split()
    validation = run([str(BIN / program), *arguments], site, cwd=project, **environ)
    output = validation.stdout + validation.stderr
    assert "my-blog" in output
    assert "All code locations passed validation" in output
    assert "BetaWarning" not in output
    assert "PreviewWarning" not in output

    (project / "materialize.py").write_text(MATERIALIZE)
    completed = run([sys.executable, "materialize.py"], site, cwd=project, **environ)
    lines = dict(line.split(" ", 1) for line in completed.stdout.splitlines() if " " in line)
    assert lines["from"].startswith(str(site)), "the working tree was imported"
    assert lines["assets"].split() == [
        "cleaned_documents",
        "embeddings",
        "raw_posts",
        "words_by_post",
    ]
    assert lines["posts"] == "40"
    assert (home / "tables" / "mara" / "embeddings.lance").is_dir()
    assert not (tmp_path / "elsewhere").exists()
