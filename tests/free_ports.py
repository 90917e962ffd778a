"""Ports for the servers that tests start, each given once.

Scope: the choice. Out of scope: the product's own (`processes/ports.py`).

A port that the kernel chooses (`bind` to 0) is out of the range from which every client on the
machine gets its own, and the server that it is for listens only seconds later: meanwhile another
worker's server, or any connection, may have it, and the start fails. These lie below that range,
and each worker of xdist has a block of its own.
https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html, ip_local_port_range
"""

from __future__ import annotations

import itertools
import os
import random

from twin_resources.processes.ports import is_free

_BLOCK, _BLOCKS, _FIRST = 1_000, 16, 12_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _BLOCKS
# Not from its beginning: another checkout's tests may run on this machine, too.
_OFFSET = random.SystemRandom().randrange(_BLOCK)
_numbers = itertools.count()


def free_port() -> int:
    """A port on which nobody listens, and which none of the last thousand calls gave."""
    for number in itertools.islice(_numbers, _BLOCK):
        port = _FIRST + _WORKER * _BLOCK + (_OFFSET + number) % _BLOCK
        if is_free("127.0.0.1", port):
            return port
    raise AssertionError(f"no port of {_BLOCK} is free for worker {_WORKER}")
