"""Test the error for a model that the hub refuses, or for a hub that cannot be reached."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.http_server import Response, http_server
from twin_resources.settings import Settings

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def serve_hub(status: int, code: str) -> Iterator[str]:
    """Serve a hub that answers every request with one status and, like the real hub, gives the
    reason in a header. Without a status, no server listens at the address."""
    if not status:
        yield "http://127.0.0.1:9"
        return
    headers = {"X-Error-Code": code} if code else {}
    with http_server(lambda _: Response(b"", status, headers)) as url:
        yield url


CASES = {
    # a request for a gated model without a token
    "401 gated": (401, "GatedRepo", "agree to the terms at {hub}/owner/name"),
    # a user who has not agreed, or who waits for the owner
    "403 gated": (403, "GatedRepo", "wait for the owner's approval"),
    # a token without permission to read
    "403": (403, "", "agree to the terms at {hub}/owner/name"),
    # the response for a private model and for one that does not exist
    "401": (401, "", "if {hub}/owner/name exists and is gated or private"),
    "no connection": (0, "", "check the id, the network and HF_TOKEN"),
}


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_the_error_gives_the_next_step(case: str, home: Settings) -> None:
    assert home.base_model  # TWIN_HOME names the fresh home
    status, code, advice = CASES[case]
    with serve_hub(status, code) as address:
        # a fresh interpreter, because the hub's client reads its address when it is imported
        completed = subprocess.run(
            [
                *(sys.executable, "-m", "twin_resources.models.base_model"),
                *("prepare", "--base-model", "owner/name"),
            ],
            env=os.environ | {"HF_ENDPOINT": address},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert completed.returncode == 2
    assert advice.format(hub=address) in completed.stderr
    assert "HF_TOKEN" in completed.stderr
    assert "Traceback" not in completed.stderr
