"""What the command line says of an error that nobody foresaw.

Belongs here: words and next step of a system error, the saved traceback.
Does not belong here: errors that explain themselves (`TwinError`), printing (`cli/`).
"""
# pyright: strict

from __future__ import annotations

import errno
import sys
import tempfile
import time
import traceback


def words_of(error: OSError) -> str:
    """What the system says, and of which file."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def next_step_of(error: OSError) -> str:
    """What a person can do about it."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free space on that disk, or name another folder with TWIN_HOME, and try again"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "make the folder writable, or name another with TWIN_HOME"
    return "see the details"


def save_traceback() -> str:
    """Where the traceback was saved; the temporary folder, since the home may be what failed."""
    text = f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} twin {' '.join(sys.argv[1:])}\n"
    text += traceback.format_exc()
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="twin-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as stream:
            stream.write(text)
    except OSError as error:
        return f"(the traceback could not be saved: {error})\n{text}"
    return stream.name
