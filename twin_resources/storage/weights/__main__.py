"""`python -m twin_resources.storage.weights prepare|show [--base-model NAME]`: a line of JSON.

Belongs here: the arguments and the exit code. Does not belong here: preparing (`weights.py`).
"""
# pyright: strict

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from twin_resources.errors import TwinError
from twin_resources.settings import load_settings
from twin_resources.storage.weights.weights import load_base_model, prepare_base_model


def main() -> int:
    """Exit code 0: the model is there; 2: it is not, and stderr says what to do."""
    parser = argparse.ArgumentParser(
        prog="python -m twin_resources.storage.weights", description=__doc__
    )
    parser.add_argument("command", choices=["prepare", "show"])
    parser.add_argument("--base-model", help="default: TWIN_BASE_MODEL")
    options = parser.parse_args()
    settings = load_settings()

    def log(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    try:
        if options.command == "prepare":
            model = prepare_base_model(settings, options.base_model, report=log)
        else:
            model = load_base_model(settings, options.base_model)
    except TwinError as error:
        log(str(error))
        return 2
    sys.stdout.write(json.dumps(asdict(model), default=str) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
