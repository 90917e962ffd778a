"""Test `twin open`: whether it starts a browser, and its errors for missing pages."""

from __future__ import annotations

import re

import pytest
from twin_cli.commands.page_commands import PAGES, can_show_browser, run_open

from twin_resources.errors import TwinError
from twin_resources.page.links import make_link, use_link
from twin_resources.settings import Settings


@pytest.mark.parametrize(
    ("environ", "is_terminal", "platform", "expected"),
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
def test_a_browser_is_started_only_if_a_user_can_see_it(
    environ: dict[str, str], is_terminal: bool, platform: str, expected: bool
) -> None:
    assert can_show_browser(environ, is_terminal=is_terminal, platform=platform) is expected


def test_an_unknown_page_is_refused_with_the_page_names(home: Settings) -> None:
    with pytest.raises(TwinError, match="chat, traces, dagster"):
        run_open(home, "langfuse", log=print)
    for page in PAGES:
        with pytest.raises(TwinError, match="twin up"):
            run_open(home, page, log=print)


def test_a_link_selects_the_view_and_opens_once(home: Settings) -> None:
    link = make_link(home, "http://127.0.0.1:7860", view="traces")
    link_match = re.fullmatch(r"http://127\.0\.0\.1:7860/open\?link=([\w-]+)&view=traces", link)
    assert link_match is not None
    assert use_link(home, link_match[1])
    assert not use_link(home, link_match[1])
