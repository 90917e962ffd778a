"""The browser that the live tests of the pages drive: found, or installed where root may.

Belongs here: which programs are taken for one, Debian's package of it, what to do without either.
Does not belong here: Python packages (`installation.py`), driving it (`tests/live`), and any import
outside the standard library.

    python3 -I deploy/checkout/browser.py [ARGUMENTS OF `twin check`]     exit code 0: one is there
                                                                          or none is needed
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PACKAGE = "chromium"
NO_LIVE_TESTS = frozenset({"--fast", "--no-live", "--help", "-h"})


class BrowserMissing(Exception):
    """What was tried, what was found, what to do next."""

    def __init__(self, *, found: str, next_step: str) -> None:
        super().__init__(f"Tried to find Chromium. Found: {found}. Next: {next_step}.")


def needs_one(arguments: Sequence[str]) -> bool:
    """Whether a check with these arguments may open a page: it runs live tests, all or some."""
    if NO_LIVE_TESTS.intersection(arguments):
        return False
    paths = [one for one in arguments if not one.startswith("-") and "tests" in one]
    return not paths or any("live" in path for path in paths)


def find() -> str:
    """The first of `BROWSERS` on PATH; empty: none."""
    return next(filter(None, map(shutil.which, BROWSERS)), "")


def install() -> str:
    """Debian's Chromium, by root; the path of the program.

    Raises:
        BrowserMissing: no apt-get or not root, or apt-get failed: with its last words.
    """
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise BrowserMissing(
            found="none on PATH, and no right to install one",
            next_step=f"install it (Debian: sudo apt-get install {PACKAGE}), or run the check "
            "with --no-live",
        )
    started = time.monotonic()
    _say(f"install {PACKAGE}, which the tests of the pages drive")
    for arguments in (("update",), ("install", "--yes", "--no-install-recommends", PACKAGE)):
        _say(f"apt-get {arguments[0]}")
        ran = subprocess.run(
            [apt, "--quiet=2", *arguments],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise BrowserMissing(
                found=f"`apt-get {' '.join(arguments)}` ended with {ran.returncode}: "
                f"{ran.stdout.strip()[-500:]}",
                next_step="mend what it says, or run the check with --no-live",
            )
    if not (path := find()):
        raise BrowserMissing(
            found=f"the package {PACKAGE} without a program of {', '.join(BROWSERS)}",
            next_step="put one on PATH",
        )
    _say(f"install {PACKAGE}: done in {time.monotonic() - started:.0f} s")
    return path


def _say(text: str) -> None:
    sys.stdout.write(f"install  {text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """See to a browser if this check needs one; 1 and a message where that does not work."""
    try:
        if needs_one(arguments) and not find():
            install()
    except BrowserMissing as missing:
        sys.stderr.write(f"Cannot go on. {missing}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
