"""Forget without a running stack: one JSON object on stdin, one on stdout.

Belongs here: reading what is asked and printing what was done. Does not belong here: doing it
(`erasing.py`). A subject comes over stdin, not as an argument that every process list shows.

    {"request": 3}  or, to look only,  {"kind": "post", "author": "ada", "name": "2020/tea.md"}
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from twin_resources.erasure.dagster_records import opened_records
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasing import forget, preview
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.errors import TwinError
from twin_resources.settings import load_settings


def main() -> int:
    """Returns the exit status; an expected failure is worded on stderr."""
    asked = json.load(sys.stdin)
    instance = Installation.of(load_settings())
    records = opened_records(instance)
    try:
        if "request" in asked:
            done = asdict(forget(instance, int(asked["request"]), dagster=records))
            answer = done | {"certificate": str(done["certificate"])}
        else:
            answer = preview(instance, ErasureSubject(**asked), dagster=records)
    except TwinError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
