"""A hash of code and data, by which tests and benchmarks name what they keep between runs.

Scope: that hash. Out of scope: what is kept, and where.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def code_hash(places: Iterable[str]) -> str:
    """Twelve hexadecimal digits over every file in these files and folders of the project.

    Raises:
        FileNotFoundError: one of them is not there (it was moved, and would no longer count).
    """
    digest = hashlib.sha256()
    for place in places:
        files = sorted((ROOT / place).rglob("*")) or [ROOT / place]
        for path in files:
            if not path.is_dir() and path.suffix != ".pyc":
                digest.update(f"{place}/{path.relative_to(ROOT / place)}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
