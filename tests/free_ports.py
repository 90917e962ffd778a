"""Free ports for the servers that tests start.

Scope: choosing a port. Out of scope: the product's ports (`processes/ports.py`).

A port that the kernel chooses (`bind` to 0) is in the range from which the kernel also gives each
client connection its port. The server listens on it only seconds later. Meanwhile another worker's
server or any connection may take the port, and the start fails. The ports here are below that
range, and each xdist worker has a separate block.
https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html, ip_local_port_range
"""

from __future__ import annotations

import itertools
import os
import random

from twin_resources.processes.ports import is_free

_BLOCK, _BLOCKS, _FIRST = 1_000, 16, 12_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _BLOCKS
# Random, because tests of another checkout may run on this machine at the same time.
_OFFSET = random.SystemRandom().randrange(_BLOCK)
_numbers = itertools.count()


def free_port() -> int:
    """Return a port without a listener that none of the last thousand calls returned."""
    for number in itertools.islice(_numbers, _BLOCK):
        port = _FIRST + _WORKER * _BLOCK + (_OFFSET + number) % _BLOCK
        if is_free("127.0.0.1", port):
            return port
    raise AssertionError(f"none of the {_BLOCK} ports of worker {_WORKER} is free")
