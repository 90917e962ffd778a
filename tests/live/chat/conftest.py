"""Fixtures of the chat page in a real browser: its process, Chromium, a slow gateway, screenshots.

Scope: starting and ending them, and common actions on the page. Out of scope: assertions, the
simulated gateway (`slow_gateway.py`).

Screenshots are saved in the folder TWIN_SCREENSHOTS (`deploy/docs` replaces the documents'
pictures), by default in the test's log folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser import BROWSER, launch_browser
from tests.free_ports import free_port
from tests.live.gateway.stack import Stack, stop_process
from twin_resources.authors import Author, write_author
from twin_resources.page.author_files import progress_path
from twin_resources.page.links import make_link
from twin_resources.settings import Settings, load_secrets

needs_browser = pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
WAIT_MS = 180_000
ANSWERS = "#conversation .bot.message:not(.component)"  # the texts of answers
NOTES = "#conversation .twin-notes"  # the notes below each answer
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="80"><text y="40">ann</text></svg>'
)
EXAMPLES = ["Which oil?", "How do I clean brass?", "What of <author> & co?"]


class PageProcess:
    """The process that serves the chat page of a home.

    Args:
        settings: the home's settings, with the ports of the gateway and the trace store.
        environ: variables that are added to the process's environment.
    """

    def __init__(
        self, settings: Settings, log: Path, *, environ: Mapping[str, str] | None = None
    ) -> None:
        self.settings = settings.model_copy(update={"chat_port": free_port()})
        self.url = f"http://127.0.0.1:{self.settings.chat_port}"
        environment = {
            name: text for name, text in os.environ.items() if not name.startswith("LANGFUSE_")
        }
        environment |= {
            "TWIN_HOME": str(settings.home),
            "TWIN_GATEWAY_PORT": str(settings.gateway_port),
            "TWIN_TRACES_PORT": str(settings.traces_port),
            "TWIN_CHAT_PORT": str(self.settings.chat_port),
            **(environ or {}),
        }
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "twin_resources.page"],
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for_server(f"{self.url}/ready", self.process, log)

    def link(self, *, view: str = "") -> str:
        return make_link(self.settings, self.url, view=view)


def wait_for_server(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server responds; fail with its log."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while True:
        try:
            httpx.get(url, trust_env=False, timeout=5)
        except httpx.TransportError:
            assert time.monotonic() < deadline, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        else:
            return


class SlowGateway:
    """The process of the simulated gateway, and its log."""

    def __init__(self, port: int, log: Path) -> None:
        self.log = log
        log.touch()
        output = log.with_suffix(".out")
        with output.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("slow_gateway.py")), str(port), log],
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        wait_for_server(f"http://127.0.0.1:{port}/v1/models", self.process, output)

    def read_logged(self, key: str) -> list[Any]:
        """Return the logged values of a key such as `asked` or `feedback`, oldest first."""
        rows = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        return [row[key] for row in rows if key in row]

    def wait_for(self, key: str, *, count: int) -> list[Any]:
        """Wait until a key has been logged `count` times; return its values, oldest first."""
        deadline = time.monotonic() + WAIT_MS / 1000
        while len(self.read_logged(key)) < count:
            assert time.monotonic() < deadline, self.log.read_text(encoding="utf-8")
            time.sleep(0.1)
        return self.read_logged(key)

    def reset(self) -> None:
        self.log.write_text("", encoding="utf-8")
        self.delay_models(0.0)

    def delay_models(self, seconds: float) -> None:
        self.log.with_suffix(".delay").write_text(str(seconds), encoding="utf-8")


@pytest.fixture(scope="session")
def slow_home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Create a home with two authors, example questions to one of them, and a voice plot."""
    home = tmp_path_factory.mktemp("slow") / "home"
    home.mkdir()
    settings = Settings(
        home=home, gateway_port=free_port(), traces_port=free_port(), paid_budget_per_day=2.0
    )
    write_author(settings, Author("ann", "Ann Bell"))
    write_author(settings, Author("bob", "Bob Stone"))
    path = progress_path(settings, "ann")
    path.parent.mkdir()
    path.write_text(json.dumps({"examples": EXAMPLES}), encoding="utf-8")
    report = settings.checkpoints_dir / "ann" / "c0ffee" / "evaluation"
    report.mkdir(parents=True)
    (report / "voice_shown.json").write_text("{}", encoding="utf-8")
    (report / "voice_shown.svg").write_text(SVG, encoding="utf-8")
    return settings


@pytest.fixture(scope="session")
def slow_gateway(slow_home: Settings) -> Iterator[SlowGateway]:
    gateway = SlowGateway(slow_home.gateway_port, slow_home.home / "asked.jsonl")
    yield gateway
    stop_process(gateway.process)


@pytest.fixture(scope="session")
def trace_store(slow_home: Settings) -> Iterator[httpx.Client]:
    """Start the embedded trace store of `slow_home`, and yield a client with its keys."""
    stack = Stack(slow_home, model=Path())
    stack.start_traces()
    address = f"http://127.0.0.1:{slow_home.traces_port}"
    secrets = load_secrets(slow_home)
    keys = (secrets.traces_public_key, secrets.traces_secret_key)
    with httpx.Client(base_url=address, auth=keys, trust_env=False) as client:
        yield client
    stack.stop()


@pytest.fixture(scope="session")
def slow_page(
    slow_home: Settings, slow_gateway: SlowGateway, trace_store: httpx.Client
) -> Iterator[PageProcess]:
    environ = {"TWIN_PAID_BUDGET_PER_DAY": "2.0"}
    page = PageProcess(slow_home, slow_home.home / "chat.log", environ=environ)
    yield page
    stop_process(page.process)


@pytest.fixture(scope="package")  # a process can have only one Playwright driver at a time
def browser() -> Iterator[Any]:
    with launch_browser() as chromium:
        yield chromium


@pytest.fixture
def tab(slow_page: PageProcess, slow_gateway: SlowGateway, browser: Any) -> Iterator[Any]:
    """Open the page with the slow gateway in a new browser context, ready for a question.

    The test fails if the page has a script error or runs a script from displayed text.
    """
    slow_gateway.reset()
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(slow_page.link())
    wait_until_ready(page)
    yield page
    assert errors == []
    assert page.evaluate("window.hurt === undefined")
    context.close()


def wait_until_ready(tab: Any) -> None:
    """Wait until the page accepts a question."""
    tab.wait_for_function("document.body.dataset.ready === 'yes'", timeout=WAIT_MS)


def ask(tab: Any, question: str, *, view: str = "talk") -> None:
    """Type a question and press Enter."""
    question_box(tab, view=view).fill(question)
    press_enter(tab, view=view)


def question_box(tab: Any, *, view: str = "talk") -> Any:
    """Return the text box for a question."""
    return tab.locator({"talk": "#question", "compare": "#compare-question"}[view] + " textarea")


def press_enter(tab: Any, *, view: str = "talk") -> None:
    """Press Enter; `wait_until_free` then waits for this question, not for the previous one."""
    tab.evaluate(f"document.body.dataset.{view} = 'asked'")
    question_box(tab, view=view).press("Enter")


def wait_until_free(tab: Any, *, view: str = "talk") -> None:
    """Wait until the answer is complete and the next question may be asked."""
    tab.wait_for_function(f"document.body.dataset.{view} === 'free'", timeout=WAIT_MS)


def wait_for_answers(tab: Any, *, count: int = 1) -> None:
    """Wait for `count` complete answers, each with its notes."""
    wait_until_free(tab)
    for selector in (ANSWERS, f"{NOTES} .twin-about"):
        tab.wait_for_function(
            f'document.querySelectorAll("{selector}").length === {count}', timeout=WAIT_MS
        )


@pytest.fixture
def take_screenshot(process_logs: Path) -> Callable[..., None]:
    """Return a function that saves a screenshot in TWIN_SCREENSHOTS or the log folder."""
    folder = Path(os.environ.get("TWIN_SCREENSHOTS") or process_logs)

    def save_screenshot(tab: Any, name: str, **options: Any) -> None:
        tab.screenshot(path=folder / f"{name}.png", **options)

    return save_screenshot
