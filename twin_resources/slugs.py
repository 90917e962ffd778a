"""Create the ASCII name of an author for paths, aliases and partitions.

Scope: the function, which also runs before the installation, so this module imports only the
standard library.
Out of scope: authors (`author_file.py`).
"""
# pyright: strict

from __future__ import annotations

import re
import unicodedata

from twin_resources.errors import TwinError


def make_slug(name: str) -> str:
    """Make the ASCII slug of a display name: `José Núñez` → `jose-nunez`, `李` → `author-674e`.

    A name without ASCII letters or digits gets a slug from its code points.

    Raises:
        TwinError: the name is empty.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-")
    if slug:
        return slug[:48].strip("-")
    digits = "-".join(f"{ord(character):x}" for character in name.strip()[:8])
    if not digits:
        raise TwinError("name the author", found="an empty name", next_step="pass --author NAME")
    return f"author-{digits}"
