"""Parse and check the name of the model that answers while the author's small model trains.

Scope: the kind of the named model, and the check that it can answer. `preflight.py` runs the check
before installation, so this module imports only the standard library and uses no syntax newer than
Python 3.9.
Out of scope: preparing and registering the model (`commands/answer_models.py`), serving it
(`serving/`), and whether it fits the machine (`model_fit.py`, `preflight.py`).
API of a model server: https://platform.openai.com/docs/api-reference/models/list
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twin_resources.errors import TwinError
from twin_resources.storage.weights.chat_model import require_chat_folder, require_chat_gguf

NO_MODEL = "none"
KEY_VARIABLE = "TWIN_ANSWER_MODEL_KEY"
LIST_TIMEOUT_S = 10.0
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_LOCAL = re.compile(r"https?://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?(/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class NamedModel:
    """A parsed model name.

    Attributes:
        kind: an OpenAI-compatible address, a GGUF file, a transformers folder, or a model hub id.
        name: the stored form: an absolute path, an id, or `https://…/v1#model`.
        url: the address up to and including `/v1`, without a final slash; empty for other kinds.
        model: the model to request from the address; empty if not named.
    """

    kind: Literal["address", "gguf", "folder", "hub"]
    name: str
    url: str = ""
    model: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether questions and posts are sent to another machine."""
        return bool(self.url) and is_remote(self.url)


def parse_name(text: str) -> NamedModel:
    """Parse the name of a model; this reads the disk but sends no request.

    Raises:
        TwinError: the text is not one of the four kinds, or is an address that contains a key.
    """
    action = f"use {text!r} as the answer model"
    if _ADDRESS.match(text):
        url, _, model = text.partition("#")
        url = url.rstrip("/")
        if "@" in url or "?" in url:
            raise TwinError(
                action,
                found="the address contains a user name or a query, which would be stored",
                next_step=f"pass only the address, and set its key in {KEY_VARIABLE}",
            )
        return NamedModel("address", f"{url}#{model}" if model else url, url, model)
    path = Path(text).expanduser()
    if path.is_dir():
        return NamedModel("folder", str(path.resolve()))
    if path.is_file():
        return NamedModel("gguf", str(path.resolve()))
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+", text) and path.suffix != ".gguf":
        return NamedModel("hub", text)
    raise TwinError(
        action,
        found="it is not a folder, a file, an address or a model hub id",
        next_step="specify a folder, a GGUF file, an id (owner/name) or an address (https://…/v1), "
        f"or {NO_MODEL} to remove the model",
    )


def resolve_name(text: str, *, key: str = "") -> NamedModel:
    """Parse the name of a model, check that it can answer, and complete an address with its model.

    Args:
        key: the API key for an address.

    Raises:
        TwinError: the folder or file contains no chat model, or the address does not list its
            models, requires a different key, or has several models and none was named.
    """
    model = parse_name(text)
    action = f"use {text!r} as the answer model"
    if model.kind == "folder":
        require_chat_folder(Path(model.name), action=action)
    elif model.kind == "gguf":
        require_chat_gguf(Path(model.name), action=action)
    elif model.kind == "address":
        return _select_model(model, list_model_ids(model.url, key), action=action)
    return model


def is_remote(url: str) -> bool:
    """Return whether an address is not on this machine."""
    return not _LOCAL.match(url)


def split_stored_name(name: str) -> tuple[str, str]:
    """Split a stored name (`ModelVersion.base`) into address and model; both are empty if local."""
    if not _ADDRESS.match(name):
        return "", ""
    url, _, model = name.partition("#")
    return url, model


def list_model_ids(url: str, key: str, *, timeout_s: float = LIST_TIMEOUT_S) -> list[str]:
    """Return the model ids under `<url>/models`, in the server's order.

    Raises:
        TwinError: the server does not answer, is not OpenAI-compatible, or refuses the key.
    """
    action = f"list the models of {url}"
    headers = {"Accept": "application/json", "User-Agent": "llm-twin"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(f"{url}/models", headers=headers)
    # Requests to a server on this machine do not use a proxy.
    proxies = [urllib.request.ProxyHandler({})] if _LOCAL.match(url) else []
    opener = urllib.request.build_opener(_NoRedirect, *proxies)
    try:
        with opener.open(request, timeout=timeout_s) as response:
            ids = [str(entry["id"]) for entry in json.loads(response.read())["data"]]
    except urllib.error.HTTPError as error:
        if location := error.headers.get("Location", "") if error.code // 100 == 3 else "":
            raise TwinError(
                action,
                found=f"it redirects to {location[:200]}",
                next_step="specify that address directly if you trust it",
            ) from error
        if error.code in (401, 403):
            credentials = f"with the key from {KEY_VARIABLE}" if key else "without a key"
            raise TwinError(
                action,
                found=f"it returned {error.code} {credentials}",
                next_step=f"export {KEY_VARIABLE} with a key that it accepts",
            ) from error
        suggestion = "" if url.endswith("/v1") else f", perhaps {url}/v1"
        raise TwinError(
            action,
            found=f"it returned {error.code}, so it is not an OpenAI-compatible address",
            next_step=f"pass the address up to and including /v1{suggestion}",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", error)
        raise TwinError(
            action,
            found=f"{type(error).__name__}: {reason}",
            next_step="start that server, or pass the address of one that lists its models "
            "(https://…/v1)",
        ) from error
    return ids


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse redirects, because a redirected request would send the key to another server."""

    def redirect_request(self, *_: object, **__: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


def _select_model(named_model: NamedModel, model_ids: list[str], *, action: str) -> NamedModel:
    id_list = ", ".join(model_ids[:12]) + (
        f" and {len(model_ids) - 12} more" * (len(model_ids) > 12)
    )
    if named_model.model and named_model.model not in model_ids:
        raise TwinError(
            action,
            found=f"it offers {id_list or 'no model'}",
            next_step=f"choose one of these: {named_model.url}#ID",
        )
    if not named_model.model and len(model_ids) != 1:
        raise TwinError(
            action,
            found=f"it offers {len(model_ids)} models: {id_list}"
            if model_ids
            else "it offers no model",
            next_step=f"choose one of them: {named_model.url}#{model_ids[0]}"
            if model_ids
            else "load a model on that server",
        )
    model = named_model.model or model_ids[0]
    return NamedModel("address", f"{named_model.url}#{model}", named_model.url, model)
