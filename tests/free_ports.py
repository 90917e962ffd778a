"""Free ports for the servers that tests start.

Scope: choosing a port. Out of scope: the product's ports (`processes/ports.py`).

A port that the kernel chooses (`bind` to 0) is in the range from which the kernel also takes the
ports of client connections. The server listens on it only seconds later. Meanwhile another worker's
server or any connection may take the port, and the start fails. The ports here are below that
range, and each xdist worker has a separate block.
https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html, ip_local_port_range
"""

from __future__ import annotations

import itertools
import os
import random

from twin_resources.processes.ports import is_free

_BLOCK_SIZE, _BLOCK_COUNT, _FIRST_PORT = 1_000, 16, 12_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _BLOCK_COUNT
# Random, because tests of another checkout may run on this machine at the same time.
_OFFSET = random.SystemRandom().randrange(_BLOCK_SIZE)
_numbers = itertools.count()


def free_port() -> int:
    """Return a port without a listener that none of the last thousand calls returned."""
    for number in itertools.islice(_numbers, _BLOCK_SIZE):
        port = _FIRST_PORT + _WORKER * _BLOCK_SIZE + (_OFFSET + number) % _BLOCK_SIZE
        if is_free("127.0.0.1", port):
            return port
    raise AssertionError(f"none of the {_BLOCK_SIZE} ports of worker {_WORKER} is free")
