"""What deploy/docs/python.md says, done by a stranger who has the wheel and no checkout.

The snippets are run as they stand there; only the paths in them are another's.
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
from tests.prepared_embedder import lend_weights, prepare_weights
from tests.wheel import build_wheel
from twin_resources.authors import Author, write_author
from twin_resources.settings import load_settings

pytestmark = pytest.mark.live
PAGE = ROOT / "deploy" / "docs" / "python.md"
SAMPLE = ROOT / "deploy" / "samples" / "mara-lindqvist" / "_posts"
BIN = Path(sys.executable).parent

# What these assets use of Dagster is theirs to know; a warning about the snippet itself is an error
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
    done = job.execute_in_process(instance=instance, partition_key="mara")
    made = sorted(event.asset_key.to_user_string()
                  for event in done.get_asset_materialization_events())
    print("made", *made)
    print("posts", done.output_for_node("words_by_post").height)
    print("checks", {event.passed for event in done.get_asset_check_evaluations()})
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installation would copy into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build_wheel(folder)) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def environment_of(site: Path, **more: str) -> dict[str, str]:
    """One in which Python finds the unpacked wheel before the working tree."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TWIN_", "DAGSTER_", "LANGFUSE_"))
    }
    return kept | {"PYTHONPATH": str(site)} | more


def ran(
    command: list[str], site: Path, *, cwd: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment_of(site, **environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.drawn(1, of="the wheel")
def test_the_snippet_prints_a_polars_table_and_no_warning(site: Path, tmp_path: Path) -> None:
    assert (site / "twin_assets" / "py.typed").is_file()  # or an analyzer would know no types
    snippet = next(block for block in blocks("python") if "write_author" in block)
    assert snippet.count("/path/to/posts") == 1
    script = tmp_path / "snippet.py"
    script.write_text(snippet.replace("/path/to/posts", str(SAMPLE)))
    strict = STRICT + f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    done = ran([sys.executable, "-c", strict], site, cwd=tmp_path, TWIN_HOME=str(tmp_path / "home"))
    assert "shape: (40, 3)" in done.stdout
    assert "published_at" in done.stdout
    assert "Warning" not in done.stderr, done.stderr[-3000:]


@pytest.mark.drawn(1, of="the wheel")
def test_a_project_of_its_own_takes_the_assets_with_its_own_resources(
    site: Path, tmp_path: Path
) -> None:
    project, home = tmp_path / "project", tmp_path / "twin"
    (project / "my_blog").mkdir(parents=True)
    (project / "my_blog" / "__init__.py").touch()
    (project / "pyproject.toml").write_text('[project]\nname = "my-blog"\nversion = "1"\n')
    definitions = next(block for block in blocks("python") if "dg.Definitions(" in block)
    assert definitions.count("/srv/my_blog/twin") == 1
    written = definitions.replace("/srv/my_blog/twin", str(home))
    (project / "my_blog" / "definitions.py").write_text(written)
    (workspace,) = blocks("yaml")
    (project / "workspace.yaml").write_text(workspace)
    settings = load_settings(home)
    write_author(settings, Author(slug="mara", name="Mara", sources=(str(SAMPLE),)))
    lend_weights(prepare_weights(), settings)
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").touch()
    # of this home, as the project's own resources say, whatever the variable of another says
    environ = {"DAGSTER_HOME": str(dagster_home), "TWIN_HOME": str(tmp_path / "elsewhere")}

    command = next(line for line in blocks("bash")[0].splitlines() if "validate" in line)
    validated = ran([str(BIN / command.split()[0]), *command.split()[1:]], site, cwd=project,
                    **environ)  # fmt: skip
    told = validated.stdout + validated.stderr
    assert "my-blog" in told
    assert "All code locations passed validation" in told
    assert "BetaWarning" not in told
    assert "PreviewWarning" not in told

    (project / "materialize.py").write_text(MATERIALIZE)
    done = ran([sys.executable, "materialize.py"], site, cwd=project, **environ)
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert lines["from"].startswith(str(site)), "the wheel, and not the working tree"
    assert lines["made"].split() == [
        "cleaned_documents",
        "document_chunks",
        "raw_posts",
        "words_by_post",
    ]
    assert lines["posts"] == "40"
    assert (home / "tables" / "mara" / "document_chunks.lance").is_dir()
    assert not (tmp_path / "elsewhere").exists()
