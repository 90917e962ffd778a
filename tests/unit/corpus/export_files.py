"""Write the files of a small export to disk: as a folder, a zip or a compressed tar.

Scope: writing. Out of scope: the contents (`sample_exports`, `marked_exports`).
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

Files = Mapping[str, str | bytes]


def write_folder(files: Files, folder: Path) -> Path:
    for name, body in encode_files(files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


def write_zip(files: Files, path: Path, *, parent_folder: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(parent_folder + name, body)
    return path


def write_tar(files: Files, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, body in encode_files(files).items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return path


def encode_files(files: Files) -> dict[str, bytes]:
    return {name: body.encode() if isinstance(body, str) else body for name, body in files.items()}
