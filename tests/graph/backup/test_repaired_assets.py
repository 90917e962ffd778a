"""Test that an import after a repair restores lost rows with the same data versions."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console
from twin_cli.commands.operating import run_repair

from tests.graph.erasure.conftest import UsedHome, used_home, used_home_folders
from twin_assets.definitions import defs
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

__all__ = ["used_home", "used_home_folders"]  # fixtures
AUTHOR, ASSETS = "ada", ("raw_posts", "cleaned_documents")


def materialize(instance: dg.DagsterInstance) -> dict[str, str]:
    """Import and clean the author's posts; return the data version of each asset in Dagster."""
    keys = [dg.AssetKey(name) for name in ASSETS]
    job = defs.resolve_implicit_job_def_def_for_assets(keys)
    assert job is not None
    result = job.execute_in_process(instance=instance, partition_key=AUTHOR, asset_selection=keys)
    assert result.success
    return {
        event.asset_key.to_user_string(): (event.materialization.tags or {})["dagster/data_version"]
        for event in result.get_asset_materialization_events()
        if event.asset_key in keys
    }


@pytest.mark.long
def test_lost_posts_and_documents_are_restored(used_home: UsedHome) -> None:
    settings, instance = used_home.settings, used_home.dagster()
    before = materialize(instance)
    assert set(before) == set(ASSETS)
    posts, documents = (Path(settings.tables_base, AUTHOR, f"{name}.lance") for name in ASSETS)
    min((posts / "_versions").glob("*.manifest")).write_bytes(b"")
    for file in (documents / "data").iterdir():
        file.unlink()
    assert run_repair(settings, is_confirmed=True, as_json=False, console=Console(quiet=True)) == 0
    with closing(open_home_state(settings)) as state:
        tables = Tables(settings.tables_base, state=state)
        assert tables.exists(ASSETS[0], AUTHOR)
        assert tables.read(ASSETS[1], AUTHOR).height == 0, "not restored to its empty first version"
        assert materialize(instance) == before
        for name in ASSETS:
            assert tables.data_version(name, AUTHOR) == before[name]
