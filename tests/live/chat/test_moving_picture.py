"""The steps of the README's moving picture, on the page with a gateway that stands in.

The picture itself is made of a stack that runs, by `python -m tests.pictures.moving_picture`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.live.chat.conftest import Page, SlowGateway, needs_browser
from tests.pictures.moving_picture import MAX_BYTES, VIEW, frames_of, write_moving_picture

pytestmark = [pytest.mark.live, needs_browser]


def test_every_step_of_the_moving_picture_is_shown(
    slow_page: Page, slow_gateway: SlowGateway, browser: Any, process_logs: Path
) -> None:
    slow_gateway.forget()
    context = browser.new_context(viewport=VIEW)
    frames = list(
        frames_of(
            context.new_page(),
            slow_page.settings,
            page=slow_page.url,
            author="ann",
            question="How much oil does a clock want?",
        )
    )
    context.close()
    into = process_logs / "twin.gif"
    size = write_moving_picture(frames, into)

    assert slow_gateway.noted("asked")
    assert len({frame.png for frame in frames}) == len(frames), "every step shows something else"
    assert [frame.caption.split()[0] for frame in frames[3:]] == ["The", "Each", "A", "The"]
    assert size <= MAX_BYTES
    with Image.open(into) as found:
        assert found.n_frames == len(frames)
