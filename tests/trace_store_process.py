"""The embedded trace store as a separate process, on a free port."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def start_trace_store(
    home: Path, database: Path, port_file: Path, **popen_options: Any
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the trace store, wait until it listens, and return the process and its port.

    Args:
        port_file: a file that the store writes; it must not exist yet.
        popen_options: further arguments of `subprocess.Popen`.
    """
    module = "twin_resources.observability.trace_store.local_store"
    arguments = {"port": 0, "db": database, "home": home, "port-file": port_file}
    options = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([sys.executable, "-m", module, *options], **popen_options)
    while not port_file.exists():
        assert process.poll() is None, "the trace store has ended"
        time.sleep(0.02)
    return process, int(port_file.read_text())
