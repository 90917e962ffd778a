"""Test a complete run of `twin demo-loop`, which takes an hour or more on two cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.free_ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(6000)]


def test_the_demo_completes_the_loop_once(tmp_path: Path, process_logs: Path) -> None:
    ports = {f"TWIN_{name}_PORT": str(free_port()) for name in ("GATEWAY", "DAGSTER", "TRACES")}
    environment = os.environ | ports
    twin = Path(sys.executable).with_name("twin")
    log = process_logs / "demo-loop.log"
    try:
        with log.open("wb") as stream:
            demo = subprocess.run(
                [twin, "demo-loop", "--home", tmp_path],
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=5400,
            )
        receipt = json.loads((tmp_path / "demo" / "receipt.json").read_text())
        assert receipt["missing"] == []
        output = "".join(log.read_text().split())  # a line may be wrapped
        assert receipt["settings"]
        for name, value in receipt["settings"].items():
            assert f"{name}={value}".replace(" ", "") in output, "a setting was not printed"
        assert demo.returncode == 0, log.read_text()[-3000:]
    finally:
        stopped = subprocess.run(
            [twin, "stop", "--home", tmp_path / "demo"], env=environment, check=False, timeout=120
        )
    assert stopped.returncode == 0
