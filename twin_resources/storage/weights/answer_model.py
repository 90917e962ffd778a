"""The name of the model that answers while the author's small model trains: an address or a path.

A name is stored as `https://…/v1#model`, as an absolute path of a GGUF file or a transformers
folder, or as a hub id, which is prepared like a base model. `preflight.py` imports this module
before installation: only the standard library, no syntax newer than Python 3.9.
"""

from __future__ import annotations

import re
from pathlib import Path

from twin_resources.errors import TwinError
from twin_resources.storage.weights.chat_model import require_chat_folder, require_chat_gguf

NO_MODEL = "none"
KEY_VARIABLE = "TWIN_ANSWER_MODEL_KEY"
_LOCAL = re.compile(r"https?://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?(/|$)", re.IGNORECASE)


def parse_name(text: str) -> str:
    """Return a name in its stored form; this reads the disk but sends no request.

    Raises:
        TwinError: the text is no address, path or hub id, the path holds no chat model, or the
            address contains a key.
    """
    action = f"use {text!r} as the answer model"
    if re.match(r"https?://", text, re.IGNORECASE):
        url, mark, model = text.partition("#")
        if "@" in url or "?" in url:
            raise TwinError(
                action,
                found="the address contains a user name or a query, which would be stored",
                next_step=f"pass only the address, and set its key in {KEY_VARIABLE}",
            )
        return f"{url.rstrip('/')}{mark}{model}"
    path = Path(text).expanduser()
    if path.is_dir():
        require_chat_folder(path.resolve(), action=action)
        return str(path.resolve())
    if path.is_file():
        require_chat_gguf(path.resolve(), action=action)
        return str(path.resolve())
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+", text) and path.suffix != ".gguf":
        return text
    raise TwinError(
        action,
        found="it is not a folder, a file, an address or a model hub id",
        next_step="specify a folder, a GGUF file, an id (owner/name) or an address (https://…/v1), "
        f"or {NO_MODEL} to remove the model",
    )


def is_remote(url: str) -> bool:
    """Return whether an address is not on this machine."""
    return not _LOCAL.match(url)


def split_stored_name(name: str) -> tuple[str, str]:
    """Split a stored name (`ModelVersion.base`) into address and model; both are empty if local."""
    url, _, model = name.partition("#")
    return (url, model) if re.match(r"https?://", url, re.IGNORECASE) else ("", "")
