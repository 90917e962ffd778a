"""Prepare the embedder: `python -m twin_resources.models.embedder prepare [--home FOLDER]`.

Scope: the arguments and the exit code. Out of scope: the preparation (`preparation.py`).
"""
# pyright: strict

from __future__ import annotations

import argparse
import sys
from functools import partial

from twin_resources.errors import TwinError
from twin_resources.models.embedder.preparation import prepare_embedder
from twin_resources.settings import load_settings


def main() -> int:
    """Run the command; return 0 if the embedder is ready, else 2 with the next step on stderr."""
    parser = argparse.ArgumentParser(prog="python -m twin_resources.models.embedder")
    parser.add_argument("command", choices=["prepare"])
    parser.add_argument("--home", default=None, help="default: TWIN_HOME, else .twin")
    arguments = parser.parse_args()
    log = partial(print, file=sys.stderr, flush=True)
    try:
        prepare_embedder(load_settings(arguments.home), report=log)
    except TwinError as error:
        log(str(error))
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
