"""Screenshots become one moving picture that is small enough, or it is told that they do not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures.moving_picture import CAPTION_HEIGHT, WIDTH, Frame, write_moving_picture
from twin_resources.errors import TwinError


def frame(pixels: np.ndarray, seconds: float = 1.0) -> Frame:
    held = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(held, format="PNG")
    return Frame(held.getvalue(), "What it shows.", seconds)


def plain(grey: int) -> np.ndarray:
    return np.full((800, 1280, 3), grey)


def test_frames_stand_as_long_as_they_shall_below_their_captions(tmp_path: Path) -> None:
    into = tmp_path / "made" / "twin.gif"

    size = write_moving_picture([frame(plain(40), 0.4), frame(plain(200), 3.0)], into)

    assert size == into.stat().st_size < 100_000
    with Image.open(into) as found:
        assert found.size == (WIDTH, round(800 * WIDTH / 1280) + CAPTION_HEIGHT)
        assert found.n_frames == 2
        assert found.info["duration"] == 400
        assert found.info["loop"] == 0
        above = np.asarray(found.convert("L"))[:CAPTION_HEIGHT]
        assert above.max() > 240, "white around the caption"
        assert above.min() < 60, "and its letters"
        found.seek(1)
        assert found.info["duration"] == 3000


def test_one_that_is_too_large_loses_colours_and_width_before_it_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (100, 160, 3))
    into = tmp_path / "twin.gif"
    whole = write_moving_picture([frame(noise)], into, most=10**9, width=160)

    smaller = write_moving_picture([frame(noise)], into, most=whole // 2, width=160)

    assert smaller <= whole // 2
    with Image.open(into) as found:
        assert found.width < 160
    with pytest.raises(TwinError, match="take fewer frames"):
        write_moving_picture([frame(noise)], into, most=1000, width=160)
