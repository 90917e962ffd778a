"""A person materializes all assets of a partition, from posts to the gate, in Dagster's pages.

Code server, webserver, daemon and trace store are the product's; only the model is small. With
TWIN_SCREENSHOTS=FOLDER the documentation's pictures are written there (`asset-graph.png`,
`dagster-training.png`, `dagster-gate.png`); `TWIN_SCREENSHOTS=deploy/docs` replaces them.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.browser import BROWSER, launch_browser
from tests.free_ports import free_port
from tests.live.dagster_sensors import stop_sensor
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.live.whole.conftest import SAMPLE, WHOLE_MODEL
from tests.prepared_base import base_folder
from tests.prepared_embedder import link_weights, prepare_weights
from twin_assets.definitions import defs
from twin_resources.authors import Author, write_author
from twin_resources.dagster_runs import ASSET_GROUPS, build_lineage_link
from twin_resources.page.links import make_dagster_link
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.programs import is_service_ready, prepare_programs, wait_until
from twin_resources.processes.stack import Stack, start_stack, stop_stack
from twin_resources.quality.judges.voice_figures import VOICE_FIGURES_FILE, read_voice_figures
from twin_resources.settings import Settings, load_secrets, load_settings
from twin_resources.storage.weights.weights import prepare_base_model

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

PROGRAMS = ("traces", "dagster-code", "dagster-webserver", "dagster-daemon")
SLUG = "tomas-okafor"
ASSET_JOB = "__ASSET_JOB"  # Dagster's job of a materialization from the asset page
GATE = "evaluation_report"  # the whole gate; `checkpoint_evaluation` decides the release
SELECTION = f'+key:"{GATE}"'  # the gate with everything upstream


@dataclass(frozen=True)
class Pages:
    """A running Dagster for a home with one author, a tiny model, and no materialized asset."""

    settings: Settings
    url: str

    @property
    def dagster(self) -> DagsterHTTP:
        return DagsterHTTP.for_home(self.settings)

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.settings.home / "dagster"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    if not BROWSER:
        pytest.skip("no Chromium on this machine")
    work = tmp_path_factory.mktemp("pages")
    recipe = work / "recipe.yaml"
    # one process; tests/live/whole tests two ranks
    recipe.write_text(WHOLE_MODEL.replace("launch: cpu-zero2", "launch: cpu-single"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("TWIN_", "LANGFUSE_"))]:
            if name not in {"TWIN_WHEELS_DIR", "TWIN_SCREENSHOTS", "TWIN_TEST_LOGS"}:
                patch.delenv(name)
        home = work / "home"
        home.mkdir()
        patch.setenv("TWIN_HOME", str(home))
        patch.setenv("TWIN_TRAIN_RANKS", "1")
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))  # its configuration names it
        settings = load_settings().model_copy(
            update={
                f"{name}_port": free_port() for name in ("gateway", "dagster", "traces", "chat")
            }
        )
        link_weights(prepare_weights(), settings)
        tiny = str(make_tiny_model(work / "tiny", base_folder(), vocabulary=FEW_TOKENS))
        prepare_base_model(settings, tiny)
        settings = settings.model_copy(update={"base_model": tiny})
        patch.setenv("TWIN_BASE_MODEL", tiny)
        author = Author(
            SLUG,
            "Tomas Okafor",
            sources=(str(SAMPLE),),
            recipe=str(recipe),
            consent="2020-01-01: the test's own author",
        )
        write_author(settings, author)
        try:
            yield start_pages(settings)
        finally:
            stop_stack(settings)


def start_pages(settings: Settings) -> Pages:
    def programs(settings: Settings) -> Any:
        return [program for program in prepare_programs(settings) if program.name in PROGRAMS]

    stack: Stack = start_stack(settings, programs=programs)
    dagster = DagsterHTTP.for_home(stack.settings)
    for service in PROGRAMS[:-1]:
        wait_until(
            stack,
            lambda service=service: is_service_ready(stack.settings, service, dagster=dagster),
            program=service,
        )
    # The sensor would add the author and import the posts by itself.
    stop_sensor(dagster.url, "new_posts", key=load_secrets(stack.settings).gateway_master_key)
    dagster.add_author(SLUG)
    stack.supervisor.start_program("dagster-daemon")
    return Pages(stack.settings, dagster.url)


@pytest.fixture(autouse=True)
def _keep_logs(pages: Pages, process_logs: Path) -> Iterator[None]:
    yield
    for log in pages.settings.logs_dir.glob("*.log"):
        shutil.copy(log, process_logs / log.name)


@pytest.fixture(scope="module")
def tab(pages: Pages) -> Iterator[Any]:
    with launch_browser() as browser:
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.set_default_timeout(90_000)
        page.goto(make_dagster_link(pages.settings, pages.url))
        yield page


def take_screenshot(tab: Any, name: str, logs: Path) -> None:
    """Save a screenshot beside the test's logs, and in TWIN_SCREENSHOTS if it is set."""
    tab.screenshot(path=logs / name)
    if folder := os.environ.get("TWIN_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(logs / name, Path(folder) / name)


def selected_assets() -> set[str]:
    """Return the assets of `SELECTION` in the current graph."""
    with dg.DagsterInstance.ephemeral():
        keys = dg.AssetSelection.assets(GATE).upstream().resolve(defs.resolve_asset_graph())
    return {key.to_user_string() for key in keys}


def materialize(tab: Any, pages: Pages) -> tuple[str, float]:
    """Launch a run of the selection for the partition; return its id and the seconds to its end.

    The seconds are those that a person waits, from the click to the end.
    """
    from urllib.parse import quote

    before = {run.run_id for run in pages.dagster.list_runs(job=ASSET_JOB, limit=50)}
    tab.goto(f"{pages.url}/asset-groups~{quote(SELECTION, safe='')}")
    tab.get_by_role("button", name="Materialize all").first.click()
    tab.get_by_text(f"Launch runs to materialize {len(selected_assets())} assets").wait_for()
    tab.get_by_text("Select a partition or create one").click()
    tab.get_by_role("menuitem").filter(has_text=SLUG).first.click()
    tab.keyboard.press("Escape")
    launch = tab.get_by_role("button", name="Launch 1 run")
    launch.wait_for()
    clicked = time.monotonic()
    launch.click()
    while True:
        new_runs = [
            run
            for run in pages.dagster.list_runs(job=ASSET_JOB, limit=50)
            if run.run_id not in before
        ]
        if new_runs and new_runs[0].is_finished:
            (run,) = new_runs
            return run.run_id, time.monotonic() - clicked
        assert time.monotonic() < clicked + 900, new_runs
        time.sleep(0.5)


@dataclass(frozen=True)
class RunRecord:
    """Dagster's record of a run."""

    status: str
    steps: dict[str, str]
    failed_checks: list[str]
    processes_started: int
    metadata: dict[str, dict[str, Any]]
    texts: str


def read_run(pages: Pages, run_id: str) -> RunRecord:
    with pages.instance() as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        logs = instance.all_logs(run_id)
        events = [entry.dagster_event for entry in logs if entry.dagster_event is not None]
        checks = [event for event in events if event.event_type_value == "ASSET_CHECK_EVALUATION"]
        materialized = [
            event for event in events if event.event_type_value == "ASSET_MATERIALIZATION"
        ]
        return RunRecord(
            status=run.status.value,
            steps={
                step.step_key: step.status.value if step.status else ""
                for step in instance.get_run_step_stats(run_id)
            },
            failed_checks=[
                event.asset_check_evaluation_data.check_name
                for event in checks
                if not event.asset_check_evaluation_data.passed
                and event.asset_check_evaluation_data.severity.value == "ERROR"
            ],
            processes_started=sum(
                event.event_type_value == "STEP_WORKER_STARTING" for event in events
            ),
            metadata={
                str(event.asset_key.to_user_string()): {
                    name: value.value
                    for name, value in event.step_materialization_data.materialization.metadata.items()  # noqa: E501
                }
                for event in materialized
                if event.asset_key is not None
            },
            texts="\n".join(repr(entry) for entry in logs),
        )


def test_the_graph_page_shows_the_assets_and_groups(
    pages: Pages, tab: Any, process_logs: Path
) -> None:
    tab.set_viewport_size({"width": 2100, "height": 1080})  # Dagster shortens names in less space
    tab.goto(build_lineage_link(pages.url))
    for asset in ("raw_posts", "embeddings", "routing_policy", "quality_by_day"):
        tab.get_by_text(asset, exact=True).first.wait_for()
    for group in ASSET_GROUPS:
        tab.get_by_text(group, exact=True).first.wait_for(state="attached")
    tab.wait_for_timeout(1_000)  # until the layout animation has ended
    take_screenshot(tab, "asset-graph.png", process_logs)
    tab.set_viewport_size({"width": 1600, "height": 1000})

    tab.goto(f"{pages.url}/automation")
    tab.get_by_text("changed_feeds").wait_for()
    tab.screenshot(path=process_logs / "automation.png")

    tab.goto(f"{pages.url}/assets/raw_posts?view=overview")
    for text in ("source_id", "tombstones have no text", "raw_posts.py", "lance"):
        tab.get_by_text(text).locator("visible=true").first.wait_for()


@pytest.mark.long
def test_one_click_makes_a_judged_model_from_posts_and_a_second_computes_nothing(
    pages: Pages, tab: Any, process_logs: Path
) -> None:
    run_id, seconds = materialize(tab, pages)
    first = read_run(pages, run_id)
    assert first.status == "SUCCESS", first.steps
    assert {name: status for name, status in first.steps.items() if status != "SUCCESS"} == {}
    assert selected_assets() <= set(first.metadata)
    assert first.failed_checks == []
    assert first.processes_started == 0, "a process for each step costs 3 to 5 s"
    assert first.metadata["fine_tuned_checkpoint"]["trained"]

    # the pages show the success and the gate's figures
    tab.goto(f"{pages.url}/runs/{run_id}")
    tab.get_by_text("Success", exact=True).first.wait_for()
    check_training_page(tab, pages, process_logs)
    check_gate_page(tab, pages, process_logs)
    posts = [path.read_text(encoding="utf-8").split("+++")[-1] for path in SAMPLE.glob("*.md")]
    lines = {line[:60] for text in posts for line in text.splitlines() if len(line) >= 60}
    assert len(lines) > 200
    assert not [line for line in lines if line in first.texts], "the event log contains a post"

    run_id, again_s = materialize(tab, pages)
    second_run = read_run(pages, run_id)
    assert second_run.status == "SUCCESS", second_run.steps
    assert selected_assets() <= set(second_run.metadata)
    assert second_run.processes_started == 0
    computed = {
        name: row["computed"] for name, row in second_run.metadata.items() if "computed" in row
    }
    assert len(computed) >= 5
    assert set(computed.values()) == {0}, computed
    assert not second_run.metadata["fine_tuned_checkpoint"]["trained"]
    assert not second_run.metadata[GATE]["measured_now"]
    times = f"from posts to the gate {seconds:.0f} s; with nothing to do {again_s:.1f} s"
    (process_logs / "seconds.txt").write_text(times)
    sys.stdout.write(f"\n{times}\n")


def check_training_page(tab: Any, pages: Pages, logs: Path) -> None:
    """Open the page of a training, and take a screenshot."""
    tab.goto(f"{pages.url}/assets/fine_tuned_checkpoint?view=events&partition={SLUG}")
    tab.get_by_text(SLUG).first.wait_for()
    take_screenshot(tab, "dagster-training.png", logs)


def check_gate_page(tab: Any, pages: Pages, logs: Path) -> None:
    """Open the gate's page; check its plots, among them the voice plot."""
    tab.goto(f"{pages.url}/assets/{GATE}?view=events&partition={SLUG}")
    require_plots(tab)
    tab.locator("img[src^='data:image/svg']").first.scroll_into_view_if_needed()
    take_screenshot(tab, "dagster-gate.png", logs)
    [record] = (pages.settings.checkpoints_dir / SLUG).glob(f"*/evaluation/{VOICE_FIGURES_FILE}")
    figures = read_voice_figures(record)
    assert figures is not None
    assert {habit.name for habit in figures.habits} == {
        "function words",
        "sentence length",
        "punctuation",
        "openings",
    }


def require_plots(tab: Any) -> None:
    """Open the Markdown metadata, and require that every image in it has loaded."""
    button = tab.get_by_text(re.compile("Show Markdown", re.IGNORECASE)).first
    button.wait_for()
    button.click()
    tab.locator("img[src^='data:image']").first.wait_for()
    tab.wait_for_function(
        "[...document.querySelectorAll(\"img[src^='data:image']\")]"
        ".every(image => image.complete && image.naturalWidth > 0)"
    )
    sizes = tab.eval_on_selector_all(
        "img[src^='data:image']",
        "images => images.map(image => [image.naturalWidth, image.src])",
    )
    assert sizes
    for width, source in sizes:
        assert width > 100, source[:60]
        assert base64.b64decode(source.partition(",")[2])
