"""Visit the page of a running stack as a reader does: open the link, ask, read, vote.

    python -m tests.live.whole.page_visit LINK QUESTION FOLDER

Writes `page.json` (trace id, text, errors) and `page.png` to the folder. It runs as a program,
because the stack's network is closed and only its processes reach the page.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.browser import launch_browser
from tests.live.chat.conftest import (
    ANSWERS,
    NOTES,
    WAIT_MS,
    ask,
    wait_for_answers,
    wait_until_ready,
)


def main(link: str, question: str, folder: Path) -> None:
    errors: list[str] = []
    with launch_browser() as browser:
        tab = browser.new_page(viewport={"width": 1280, "height": 860})
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(link)
        wait_until_ready(tab)
        ask(tab, question)
        wait_for_answers(tab)
        tab.get_by_label("Like", exact=True).first.click()
        tab.locator("#why").wait_for(timeout=WAIT_MS)  # the page has stored the vote
        visit = {
            "answer": tab.locator(ANSWERS).first.inner_text(),
            "notes": tab.locator(NOTES).first.inner_text(),
            "trace_id": tab.locator(f"{NOTES} a[data-trace]").first.get_attribute("data-trace"),
            "errors": errors,
        }
        tab.screenshot(path=folder / "page.png")
    (folder / "page.json").write_text(json.dumps(visit), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
