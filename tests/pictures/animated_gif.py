"""Create the README's animated GIF: ask → quote → source → train → voice, from a running stack.

Scope: the steps, screenshots of the real page in headless Chromium, one file of at most 2 MB.
Out of scope: still pictures (the tests of the page create them), the page.

    python -m tests.pictures.animated_gif --home .twin [--question "…"] [--into FILE]

It needs Chromium, and a home whose stack runs and whose author has a gated version. Screenshots are
not edited; the caption is above them. Format: GIF,
https://pillow.readthedocs.io/en/stable/handbook/image-file-formats.html#gif
"""

from __future__ import annotations

import argparse
import html
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from twin_cli.commands.page_commands import start_page
from twin_cli.commands.services import require_stack

from tests.browser import BROWSER, launch_browser
from twin_resources.errors import TwinError
from twin_resources.page.links import make_link
from twin_resources.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
GIF_PATH = ROOT / "deploy" / "docs" / "twin.gif"
MAX_BYTES = 2_000_000
WIDTH = 960  # of the picture; GitHub shows a README at about 830
VIEWPORT: Any = {"width": 1280, "height": 800}  # playwright's ViewportSize
CAPTION_HEIGHT = 44
WAIT_MS = 120_000
# (colors, scale), tried in this order until the file is small enough
QUALITIES = ((128, 1.0), (64, 1.0), (64, 0.8), (32, 0.8), (32, 0.6))


@dataclass(frozen=True)
class Frame:
    """A frame of the GIF.

    Attributes:
        png: the screenshot.
        caption: the line above the screenshot.
        seconds: how long the frame is shown.
    """

    png: bytes
    caption: str
    seconds: float


def write_animated_gif(frames: Sequence[Frame], path: Path) -> int:
    """Write the frames as a GIF; return its size in bytes.

    Raises:
        TwinError: the GIF exceeds `MAX_BYTES` even with the fewest colors and narrowest frames.
    """
    size = 0
    for color_count, scale in QUALITIES:
        images = [
            _draw(frame, round(WIDTH * scale)).quantize(
                colors=color_count, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
            )
            for frame in frames
        ]
        buffer = io.BytesIO()
        images[0].save(
            buffer,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=[round(1000 * frame.seconds) for frame in frames],
            loop=0,
            optimize=True,
        )
        size = buffer.tell()
        if size <= MAX_BYTES:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(buffer.getvalue())
            return size
    raise TwinError(
        f"write {path}",
        found=f"{size} bytes with the fewest colors; at most {MAX_BYTES} are allowed",
        next_step="take fewer frames",
    )


def _draw(frame: Frame, width: int) -> Image.Image:
    """Scale the screenshot to a width and draw the caption above it."""
    screenshot = Image.open(io.BytesIO(frame.png)).convert("RGB")
    height = round(screenshot.height * width / screenshot.width)
    screenshot = screenshot.resize((width, height), Image.Resampling.LANCZOS)
    image = Image.new("RGB", (width, height + CAPTION_HEIGHT), "white")
    image.paste(screenshot, (0, CAPTION_HEIGHT))
    font = ImageFont.load_default(size=20)
    ImageDraw.Draw(image).text((16, 10), frame.caption, fill="black", font=font)
    return image


def take_frames(
    tab: Any, settings: Settings, *, page: str, author: str, question: str
) -> Iterator[Frame]:
    """Go through the steps in the browser, and yield the frames of each.

    Args:
        tab: a page of Playwright's browser.
        page: URL of the chat page.
        author: the author's slug or name.
    """

    def take_frame(caption: str, seconds: float) -> Frame:
        return Frame(tab.screenshot(), caption, seconds)

    tab.goto(make_link(settings, page))
    tab.wait_for_function("document.body.dataset.ready === 'yes'", timeout=WAIT_MS)
    box = tab.locator("#question textarea")
    for prefix in _typing_steps(question):
        box.fill(prefix)
        yield take_frame("Ask the author.", 0.35)
    tab.evaluate("document.body.dataset.talk = 'asked'")
    box.press("Enter")
    tab.wait_for_function("document.body.dataset.talk === 'free'", timeout=WAIT_MS)
    tab.wait_for_timeout(800)
    yield take_frame("The answer opens with the author's own sentences.", 3.0)
    note = tab.locator(".twin-note").first
    note.scroll_into_view_if_needed()
    note.locator("summary").first.click()
    tab.wait_for_timeout(300)
    yield take_frame("Each with its post, date and place.", 3.0)
    yield Frame(
        _take_terminal_screenshot(tab, settings, author),
        "A small model learns the voice; a gate judges it.",
        3.0,
    )
    tab.goto(make_link(settings, page))
    tab.wait_for_function("document.body.dataset.ready === 'yes'", timeout=WAIT_MS)
    tab.get_by_role("tab", name="Before | after").click()
    plot = tab.locator("#voice img")
    plot.wait_for(timeout=WAIT_MS)
    plot.scroll_into_view_if_needed()
    tab.wait_for_timeout(500)
    yield take_frame("The voice, seen: author, base and tuned model.", 4.0)


def _take_terminal_screenshot(tab: Any, settings: Settings, author: str) -> bytes:
    """Return a screenshot of the output of `twin versions`, shown in the browser."""
    twin = str(Path(sys.executable).with_name("twin"))
    completed = subprocess.run(
        [twin, "versions", "--author", author, "--home", str(settings.home)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "136"},
    )
    text = html.escape(f"$ twin versions\n{completed.stdout}")
    tab.set_content(
        "<body style='background:#111;margin:0'><pre style='color:#eee;padding:24px;"
        f"font:14px monospace;white-space:pre-wrap'>{text}</pre>"
    )
    return tab.screenshot()


def _typing_steps(text: str) -> list[str]:
    """Return the first third, two thirds and all of the words."""
    words = text.split(" ")
    return [" ".join(words[: round(len(words) * part / 3)]) for part in (1, 2, 3)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Create the GIF from the home's running stack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".twin"))
    parser.add_argument("--author", default="mara-lindqvist")
    parser.add_argument("--question", default="How do I carry a clock?")
    parser.add_argument("--into", type=Path, default=GIF_PATH)
    options = parser.parse_args(arguments)
    if not BROWSER:
        raise TwinError(
            "create the animated GIF",
            found="no Chromium on this machine",
            next_step="sudo apt-get install chromium",
        )
    stack = require_stack(load_settings(options.home))
    settings, page = stack.settings, start_page(stack)
    with launch_browser() as browser:
        tab = browser.new_context(viewport=VIEWPORT).new_page()
        frames = list(
            take_frames(tab, settings, page=page, author=options.author, question=options.question)
        )
    size = write_animated_gif(frames, options.into)
    sys.stdout.write(f"{options.into}: {len(frames)} frames, {size:,} bytes\n")


if __name__ == "__main__":
    main()
