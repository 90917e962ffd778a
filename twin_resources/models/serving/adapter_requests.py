"""Request an adapter from the host of the model server, when this host does not share its disk.

Scope: the request, and waiting for the other host.
Out of scope: loading an adapter (`loaded_adapters.py`), released versions
(`registry/host_sync.py`).

The server at `TWIN_MODEL_SERVER_URL` reads adapters from its own disk. A gate on another host holds
a lease in the state store that names its candidate. The fleet on the server's host reads the lease,
fetches the candidate from `TWIN_STORE_URI`, and loads it. The lease of a killed gate expires.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from uuid import uuid4

from twin_resources.registry.shared_files import has_shared_state
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.lease import Lease, hold_lease, prune_leases
from twin_resources.storage.state.state import State

POLL_INTERVAL_S = 0.5
LEASE_TTL_S = 30.0
# A running fleet reads the requests every half second, but a starting one needs up to a minute on a
# busy machine. While any fleet loads an adapter, the gate waits without a limit.
PICKUP_TIMEOUT_S = 120.0
_REQUEST_PREFIX, _LOAD_PREFIX = "adapter request/", "adapter load/"


@contextmanager
def request_adapter(settings: Settings, name: str) -> Generator[None]:
    """Request an adapter, while the context is open, from hosts that share the state store."""
    if not has_shared_state(settings):
        yield
        return
    with closing(open_home_state(settings)) as state, _hold(state, _REQUEST_PREFIX, name):
        yield


def announce_loading(state: State, name: str) -> AbstractContextManager[Lease]:
    """Show waiting hosts that this host is loading an adapter, while the context is open."""
    return _hold(state, _LOAD_PREFIX, name)


def requested_names(state: State) -> set[str]:
    """Return the names of the adapters that running processes request, such as `jane/v3`."""
    names = prune_leases(state, _REQUEST_PREFIX)
    return {name.removeprefix(_REQUEST_PREFIX).rpartition("/")[0] for name in names}


def wait_for_other_host(settings: Settings, is_loaded: Callable[[], bool]) -> bool:
    """Wait until another host has loaded the requested adapter.

    Returns:
        False if the adapter is not loaded and no host has loaded one for `PICKUP_TIMEOUT_S`.
    """
    if not has_shared_state(settings):
        return False
    with closing(open_home_state(settings)) as state:
        idle_since = time.monotonic()
        while not is_loaded():
            if prune_leases(state, _LOAD_PREFIX):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > PICKUP_TIMEOUT_S:
                return False
            time.sleep(POLL_INTERVAL_S)
        return True


def _hold(state: State, prefix: str, name: str) -> AbstractContextManager[Lease]:
    # Each name is used once and contains an author's slug, so the end of its lease is not recorded.
    return hold_lease(
        state, f"{prefix}{name}/{uuid4().hex}", ttl_s=LEASE_TTL_S, wait_s=0.0, record_end=False
    )
