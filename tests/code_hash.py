"""Hash code and data, to name the files that tests and benchmarks keep between runs.

Scope: computing the hash. Out of scope: keeping the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def code_hash(sources: Iterable[str]) -> str:
    """Hash all files in these files and folders of the project; return 12 hexadecimal digits.

    Raises:
        FileNotFoundError: a source does not exist, for example because it was moved.
    """
    digest = hashlib.sha256()
    for source in sources:
        files = sorted((ROOT / source).rglob("*")) or [ROOT / source]
        for path in files:
            if not path.is_dir() and path.suffix != ".pyc":
                digest.update(f"{source}/{path.relative_to(ROOT / source)}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
