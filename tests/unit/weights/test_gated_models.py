"""A model hub that refuses a download: the message says how to get access."""

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
def hub(status: int, code: str) -> Iterator[str]:
    """A hub that answers every question with one status, as the real one does: the reason stands in
    a header."""
    headers = {"X-Error-Code": code} if code else {}
    with http_server(lambda _: Response(b"", status, headers)) as url:
        yield url


CASES = {
    # nobody known asks for a gated model
    "401 gated": (401, "GatedRepo", "agree to the terms at {hub}/owner/name"),
    # somebody known, who has not agreed or waits for the owner
    "403 gated": (403, "GatedRepo", "wait for the owner's approval"),
    # a token that may not read it
    "403": (403, "", "agree to the terms at {hub}/owner/name"),
    # what the hub says of a private model, and of one that does not exist
    "401": (401, "", "if {hub}/owner/name exists and is gated or private"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_that_is_not_given_out_says_how_to_get_in(case: str, home: Settings) -> None:
    assert home.base_model  # TWIN_HOME names the fresh home
    status, code, message = CASES[case]
    with hub(status, code) as address:
        # a fresh interpreter, because the hub's client reads its address when it is imported
        process = subprocess.run(
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
    assert process.returncode == 2
    assert message.format(hub=address) in process.stderr
    assert "HF_TOKEN" in process.stderr
    assert "Traceback" not in process.stderr
