"""Simulate hosts that share one home: an environment, and processes started there.

The first host works in the shared home itself. Every other one has a view of it, in which only the
folder `host` is its own, as where a local disk is mounted there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import ROOT
from tests.free_ports import free_port
from tests.graph.s3 import KEY, REGION, make_s3_client
from tests.live.gateway.stack import stop_process
from twin_resources.settings import Settings, load_secrets

GATEWAY, MODELS = "gateway", "models"
TIMEOUT_S = 240.0  # long enough if seven other processes use the cores


def shared_environment(s3_endpoint: str, postgresql_url: str) -> dict[str, str]:
    """Create a bucket, and return the environment variables that all hosts share."""
    bucket = postgresql_url.rpartition("/")[2]  # a new one for each database
    make_s3_client(s3_endpoint).create_bucket(Bucket=bucket)
    return {
        "AWS_ENDPOINT": s3_endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
        "TWIN_STATE_URL": postgresql_url,
        "TWIN_TABLES_URI": f"s3://{bucket}/tables",
        "TWIN_BASE_MODEL": "tiny",
    }


@dataclass
class Host:
    """A simulated host.

    Attributes:
        folder: the host's folder, which is created empty.
        shared: the environment variables of all hosts.
        first: the host whose home this one shares; None for the first.
    """

    folder: Path
    shared: Mapping[str, str]
    first: Host | None = None
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        home = self.folder / "home"
        home.mkdir()
        if self.first is not None:
            shared_home = self.first.folder / "home"
            load_secrets(self.first.settings)
            for name in ("authors", "checkpoints", "weights", "work", "logs", "dagster"):
                (shared_home / name).mkdir(exist_ok=True)
                (home / name).symlink_to(shared_home / name)
            for name in ("policy.json", "secrets.json"):
                (home / name).symlink_to(shared_home / name)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.shared,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deploy")]),
            "HOME": str(self.folder),
            "TWIN_HOME": str(self.folder / "home"),
            "TWIN_GATEWAY_PORT": str(self.port),
        }

    @property
    def settings(self) -> Settings:
        values = {
            name.removeprefix("TWIN_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("TWIN_")
        }
        return Settings(**values)

    def start(self, *programs: str) -> None:
        for program in programs:
            self.start_module(program, "twin_cli", "serve", program)

    def start_module(self, name: str, *arguments: str) -> None:
        """Start a module with its arguments as a program of this name."""
        with self._log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run_script(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a Python script on this host to its end."""
        return self._run("-c", script, *arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module on this host to its end, without standard input."""
        return self._run("-m", *arguments)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def stop(self) -> None:
        for process in self.processes.values():
            stop_process(process)
        self.processes.clear()

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the JSON body of the readiness route; 0 if it is down."""
        try:
            url = f"http://127.0.0.1:{self.port}/health/readiness"
            response = httpx.get(url, trust_env=False, timeout=120)
        except httpx.TransportError:
            return 0, {}
        return response.status_code, response.json()

    def ask(self, model: str, question: str) -> httpx.Response:
        """Return the gateway's response to a question; the answer is short and greedy."""
        return httpx.post(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            headers={"Authorization": f"Bearer {load_secrets(self.settings).gateway_key}"},
            json={
                "model": model,
                "messages": [{"role": "user", "content": question}],
                "temperature": 0.0,
                "max_tokens": 16,
            },
            trust_env=False,
            timeout=120,
        )

    def version(self, model: str) -> str:
        """Return the version that answers to a model name; "" for an unknown name."""
        response = httpx.get(
            f"http://127.0.0.1:{self.port}/v1/models/{model}",
            headers={"Authorization": f"Bearer {load_secrets(self.settings).gateway_key}"},
            trust_env=False,
            timeout=120,
        )
        return str(response.json()["twin"]["version"]) if response.status_code == 200 else ""

    def wait(self, is_true: Callable[[], object], *, timeout_s: float = TIMEOUT_S) -> float:
        """Wait until `is_true()`, and return the seconds.

        Fail with the logs after a timeout, or if a program ends.
        """
        started_at = time.monotonic()
        while not is_true():
            ended_programs = [
                name for name, process in self.processes.items() if process.poll() is not None
            ]
            if ended_programs or time.monotonic() - started_at > timeout_s:
                logs = "\n".join(
                    f"{name}: {self._log(name).read_text(errors='replace')[-2500:]}"
                    for name in self.processes
                )
                raise AssertionError(f"ended: {ended_programs}; {self.readiness()}\n{logs}")
            time.sleep(0.05)
        return time.monotonic() - started_at

    def _log(self, program: str) -> Path:
        return self.folder / f"{program}.log"
