"""Drive a training run inside a Ray cluster: reserve the machines and start their shares.

Scope: the job's entry point, `python -m twin_resources.models.training_launcher.ray_driver`, and
the actor for a machine.
Out of scope: submitting the job (`ray_cluster.py`), the commands (`machine.py`).
Method: a placement group (all machines or none) with the same machine ranks as without Ray,
https://docs.ray.io/en/latest/ray-core/scheduling/placement-group.html
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import socket
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.attempt import Attempt, read_attempt
from twin_resources.models.training_launcher.machine import (
    GRACE_S,
    MachineShare,
    follow_log,
    ranks_per_machine,
    run_share,
)
from twin_resources.processes.process_identity import end_processes

WAIT_LOG_INTERVAL_S = 30.0
STOP_TIMEOUT_S = 2 * GRACE_S + 5


class RayMachine:
    """A Ray actor that runs one machine's share."""

    def has_file(self, path: str) -> bool:
        """Return whether the attempt file exists on this worker at the launcher's path."""
        return Path(path).is_file()

    def find_address(self) -> tuple[str, int]:
        """Return the address of this worker's node and a free port on it."""
        import ray.util

        address = ray.util.get_node_ip_address()
        with socket.socket() as probe:
            probe.bind(("", 0))
            return address, probe.getsockname()[1]

    def train(self, path: str, share: MachineShare) -> Generator[str | int]:
        """Run the share; yield each line of its output and then the exit code."""
        attempt = require_attempt(Path(path))
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            environment = attempt.environment if share.rank == 0 else {}
            with run_share(attempt.job, share, log, environment=environment) as process:
                attempt_end = yield from follow_log(process, attempt.job, log, log_start=0)
                if process.poll() is None:
                    yield attempt_end.description
            yield process.returncode

    def stop_processes(self) -> None:
        """Stop every process that this worker started."""
        end_processes(psutil.Process().children(recursive=True), grace_s=GRACE_S)


def run_attempt(path: Path) -> int:
    """Run the attempt at `path`; return 0 if every machine succeeded.

    Raises:
        TwinError: the driver or a worker cannot find the file, or the cluster lacks resources.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.placement_group import placement_group, remove_placement_group

    attempt = require_attempt(path)
    ray.init(address="auto", log_to_driver=False)
    bundle = resource_bundle(attempt)
    group = placement_group([bundle] * attempt.machine_count, strategy="PACK")
    machines: list[Any] = []
    try:
        _wait_for_resources(group, bundle, attempt)
        machines = [_start_actor(group, bundle, index) for index in range(attempt.machine_count)]
        if not all(ray.get([machine.has_file.remote(str(path)) for machine in machines])):
            raise _missing_file_error(path)
        address, port = ray.get(machines[0].find_address.remote())
        shares = machine_shares(attempt, address, port)
        return _follow_machines(
            [
                machine.train.options(num_returns="streaming").remote(str(path), share)
                for machine, share in zip(machines, shares, strict=True)
            ]
        )
    finally:
        # A dead worker has no process to stop, but the other workers may still be training. Each
        # worker is awaited separately, because `ray.get` stops at the first error in a list.
        for stop_call in [machine.stop_processes.remote() for machine in machines]:
            with contextlib.suppress(RayError):
                ray.get(stop_call, timeout=STOP_TIMEOUT_S)
        remove_placement_group(group)


def machine_shares(attempt: Attempt, address: str, port: int) -> list[MachineShare]:
    """Return each worker's share; machine 0 listens at `address` and `port`."""
    return [
        MachineShare(attempt.machine_count, rank, address, port, may_fork=attempt.may_fork)
        for rank in range(attempt.machine_count)
    ]


def require_attempt(path: Path) -> Attempt:
    """Read the attempt at `path`, with one thread per rank by default.

    A worker may use only the processors in its bundle, not all processors of the machine.

    Raises:
        TwinError: the file does not exist on this machine.
    """
    attempt = read_attempt(path)
    if attempt is None:
        raise _missing_file_error(path)
    threads = attempt.job.threads_per_rank or 1
    return dataclasses.replace(
        attempt, job=dataclasses.replace(attempt.job, threads_per_rank=threads)
    )


def resource_bundle(attempt: Attempt) -> dict[str, float]:
    """Return one machine's resources: one processor per thread and one GPU per rank."""
    ranks = ranks_per_machine(attempt.job, attempt.machine_count)
    bundle = {"CPU": float(ranks * (attempt.job.threads_per_rank or 1))}
    return bundle | ({"GPU": float(ranks)} if attempt.job.device == "cuda" else {})


def _start_actor(group: Any, bundle: Mapping[str, float], index: int) -> Any:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return (
        ray.remote(RayMachine)
        .options(
            num_cpus=bundle["CPU"],
            num_gpus=bundle.get("GPU", 0),
            max_concurrency=2,  # `stop_processes` must be able to run during `train`
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=index
            ),
        )
        .remote()
    )


def _wait_for_resources(group: Any, bundle: Mapping[str, float], attempt: Attempt) -> None:
    import ray

    deadline = time.monotonic() + attempt.job.silence_s
    while not group.wait(timeout_seconds=min(WAIT_LOG_INTERVAL_S, attempt.job.silence_s)):
        cluster_resources = {name: ray.cluster_resources().get(name, 0.0) for name in bundle}
        if time.monotonic() > deadline:
            raise TwinError(
                f"reserve {attempt.machine_count} machines with {dict(bundle)}",
                found=f"no free resources within {attempt.job.silence_s:.0f} s; the cluster has "
                f"{cluster_resources} in total",
                next_step="add nodes (maxReplicas of the worker group), or lower TWIN_TRAIN_RANKS",
            )
        _log(
            f"waiting for {attempt.machine_count} × {dict(bundle)}; the cluster has "
            f"{cluster_resources}"
        )


def _follow_machines(streams: Sequence[Any]) -> int:
    """Print the output until one machine fails or all succeed; return the exit code."""
    import ray
    from ray.exceptions import RayActorError

    rank_by_stream = {stream: rank for rank, stream in enumerate(streams)}
    active_streams: list[Any] = list(streams)
    stream: Any
    while active_streams:
        # Wait for a stream with a new item.
        (stream, *_), _ = ray.wait(active_streams, num_returns=1)
        rank = rank_by_stream[stream]
        try:
            item: Any = ray.get(next(stream))
        except StopIteration:
            active_streams.remove(stream)
            continue
        except RayActorError as error:
            _log(f"machine {rank}: {type(error).__name__}: its worker died")
            return 1
        if isinstance(item, int):
            if item != 0:
                _log(f"machine {rank}: exit code {item}")
                return item
        else:
            _log(item if rank == 0 else f"machine {rank}: {item}")
    return 0


def _missing_file_error(path: Path) -> TwinError:
    return TwinError(
        f"read {path} on {socket.gethostname()}",
        found="no such file",
        next_step="mount the home on every Ray node at the path that Dagster uses",
    )


def _log(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train in this Ray cluster.")
    parser.add_argument("--attempt", type=Path, required=True)
    try:
        return run_attempt(parser.parse_args(arguments).attempt)
    except TwinError as error:
        _log(f"TwinError: {error}")
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
