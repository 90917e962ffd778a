"""A complete run of the demo of the loop, which takes an hour or more on two cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.free_ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(6000)]


def test_the_demo_closes_the_loop_once(tmp_path: Path, process_logs: Path) -> None:
    ports = {f"TWIN_{name}_PORT": str(free_port()) for name in ("GATEWAY", "DAGSTER", "TRACES")}
    log = process_logs / "demo-loop.log"
    with log.open("wb") as stream:
        demo = subprocess.run(
            [sys.executable, "-m", "tests.demo_loop", str(tmp_path / "home")],
            env=os.environ | ports,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=5400,
        )
    assert demo.returncode == 0, log.read_text()[-3000:]
