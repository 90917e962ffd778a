"""The embedded trace store as a process of its own, on a port that is free."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def start_trace_store(
    home: Path, database: Path, port_file: Path, **more: Any
) -> tuple[subprocess.Popen[bytes], int]:
    """The process and its port, once it listens.

    Args:
        port_file: not there yet; the store writes it.
        more: other arguments of `subprocess.Popen`.
    """
    module = "twin_resources.observability.trace_store.local_store"
    arguments = {"port": 0, "db": database, "home": home, "port-file": port_file}
    named = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([sys.executable, "-m", module, *named], **more)
    while not port_file.exists():
        assert process.poll() is None, "the trace store has ended"
        time.sleep(0.02)
    return process, int(port_file.read_text())
