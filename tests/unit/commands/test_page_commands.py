"""`twin open`: whether it starts a browser, and its errors for missing pages."""

from __future__ import annotations

import re

import pytest
from twin_cli.commands.page_commands import PAGES, can_show_browser, run_open

from twin_resources.errors import TwinError
from twin_resources.page.links import make_link, use_link
from twin_resources.settings import Settings


@pytest.mark.parametrize(
    ("environ", "is_terminal", "platform", "wanted"),
    [
        ({"DISPLAY": ":0"}, True, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True, "linux", True),
        ({"DISPLAY": ":0"}, False, "linux", False),
        ({"DISPLAY": ""}, True, "linux", False),
        ({}, True, "linux", False),
        ({}, True, "darwin", True),
        ({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, True, "darwin", False),
        ({}, False, "darwin", False),
    ],
)
def test_a_browser_is_started_where_somebody_sees_it(
    environ: dict[str, str], is_terminal: bool, platform: str, wanted: bool
) -> None:
    assert can_show_browser(environ, is_terminal=is_terminal, platform=platform) is wanted


def test_what_cannot_be_opened_says_what_can(home: Settings) -> None:
    with pytest.raises(TwinError, match="chat, traces, dagster"):
        run_open(home, "langfuse", log=print)
    for page in PAGES:
        with pytest.raises(TwinError, match="twin up"):
            run_open(home, page, log=print)


def test_a_link_names_what_is_shown_first_and_opens_once(home: Settings) -> None:
    link = make_link(home, "http://127.0.0.1:7860", view="traces")
    found = re.fullmatch(r"http://127\.0\.0\.1:7860/open\?link=([\w-]+)&view=traces", link)
    assert found is not None
    assert use_link(home, found[1])
    assert not use_link(home, found[1])
