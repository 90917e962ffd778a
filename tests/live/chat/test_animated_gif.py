"""Test the steps of the README's animated GIF on the page with the simulated gateway.

`python -m tests.pictures.animated_gif` creates the GIF itself from a running stack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.live.chat.conftest import PageProcess, SlowGateway, needs_browser
from tests.pictures.animated_gif import MAX_BYTES, VIEWPORT, take_frames, write_animated_gif

pytestmark = [pytest.mark.live, needs_browser]


def test_the_animated_gif_has_every_step(
    slow_page: PageProcess, slow_gateway: SlowGateway, browser: Any, process_logs: Path
) -> None:
    slow_gateway.reset()
    context = browser.new_context(viewport=VIEWPORT)
    frames = list(
        take_frames(
            context.new_page(),
            slow_page.settings,
            page=slow_page.url,
            author="ann",
            question="How much oil does a clock want?",
        )
    )
    context.close()
    path = process_logs / "twin.gif"
    size = write_animated_gif(frames, path)

    assert slow_gateway.read_logged("asked")
    assert len({frame.png for frame in frames}) == len(frames), "two steps look the same"
    assert [frame.caption.split()[0] for frame in frames[3:]] == ["The", "Each", "A", "The"]
    assert size <= MAX_BYTES
    with Image.open(path) as image:
        assert image.n_frames == len(frames)
