"""Call vLLM's routes for LoRA adapters: list models, load an adapter, and unload an adapter.

Scope: the three requests and the interpretation of their responses.
Out of scope: choosing the adapters (`loaded_adapters.py`), querying a model (`served_model.py`).
Interface: https://docs.vllm.ai/en/latest/features/lora/ ("Dynamically serving LoRA Adapters")

    GET  /v1/models                {"data": [{"id", "root", "parent"}, …]}
    POST /v1/load_lora_adapter     {"lora_name", "lora_path"}; 400: the name is taken
    POST /v1/unload_lora_adapter   {"lora_name"}; 404: no such adapter

`root` is the path from which an adapter was loaded, as given in the request. `parent` is the
adapter's base model, or null for a base model. `max_model_len` is the context of a base model, or
null for an adapter. Other OpenAI-compatible servers omit all three. The POST routes exist only with
`VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from twin_resources.errors import TwinError
from twin_resources.models.serving.running_server import authorization_headers

if TYPE_CHECKING:
    import httpx

# Routes that answer, load or tell without vLLM's key, which guards those under /v1 alone (0.32.0).
UNGUARDED_ROUTES = ("/adapters", "/invocations", "/tokenize", "/detokenize", "/generative_scoring")
GUARDED_ROUTES = ("/v1/chat/completions", "/v1/load_lora_adapter")
LOAD_ROUTE, UNLOAD_ROUTE = "load_lora_adapter", "unload_lora_adapter"
# The server reads the adapter from disk and copies it to the GPU: 340 MB for 8B at rank 64.
LOAD_TIMEOUT_S = 60.0
ENABLE_ADAPTERS_STEP = (
    "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True "
    "(deploy/docs/deployment.md)"
)


@dataclass(frozen=True)
class OfferedModel:
    """One entry of a server's list of models.

    Attributes:
        name: value of `model` in a request.
        root: path from which the model was loaded; empty if the server does not report it.
        context: tokens of prompt and answer together; an adapter has its base model's; 0 if the
            server does not report it.
        is_adapter: whether the server reports a base model of it.
    """

    name: str
    root: str = ""
    context: int = 0
    is_adapter: bool = False


class RouteMissingError(TwinError):
    """The server does not have or does not allow the adapter routes."""


def list_models(
    url: str,
    key: str,
    *,
    timeout_s: float = 10.0,
    next_step: str = "set TWIN_MODEL_SERVER_URL (ends in /v1) and TWIN_MODEL_SERVER_KEY",
) -> dict[str, OfferedModel]:
    """Return the models listed at `<url>/models`, by name.

    Args:
        url: base URL, which ends in `/v1`.
        key: bearer token; may be empty. It is not sent to an address to which the server redirects.
        next_step: remedy in an error.

    Raises:
        TwinError: the server does not answer like an OpenAI-compatible server.
    """
    import httpx

    try:
        response = httpx.get(
            f"{url}/models", headers=authorization_headers(key), timeout=timeout_s, trust_env=False
        )
        response.raise_for_status()
        entries: list[dict[str, Any]] = response.json()["data"]
        contexts = {str(entry["id"]): int(entry.get("max_model_len") or 0) for entry in entries}
        models = [
            OfferedModel(
                str(entry["id"]),
                str(entry.get("root") or ""),
                contexts[str(entry["id"])] or contexts.get(str(entry.get("parent")), 0),
                is_adapter=bool(entry.get("parent")),
            )
            for entry in entries
        ]
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).partition("\nFor more information")[0].replace("\n", "; ")
        raise TwinError(
            f"list the models of {url}",
            found=f"{type(error).__name__}: {reason}",
            next_step=next_step,
        ) from error
    return {model.name: model for model in models}


def can_load_adapters(url: str, key: str, *, timeout_s: float = 10.0) -> bool:
    """Return whether the server has the adapter routes.

    A server that has them answers a GET request with 405 instead of 404.

    Raises:
        TwinError: the server does not answer.
    """
    import httpx

    headers = authorization_headers(key)
    try:
        response = httpx.get(
            f"{url}/{LOAD_ROUTE}", headers=headers, timeout=timeout_s, trust_env=False
        )
    except httpx.HTTPError as error:
        raise TwinError(
            f"check whether {url} can load adapters",
            found=f"{type(error).__name__}: {error}",
            next_step="read that server's log",
        ) from error
    return response.status_code == 405


def find_open_routes(url: str, *, timeout_s: float = 10.0) -> list[str]:
    """Return the routes of a server that do not refuse an empty request without a key.

    An empty body asks for nothing: an open route answers it with 400, 405 or 422.

    Raises:
        TwinError: the server does not answer.
    """
    import httpx

    root, open_routes = url.removesuffix("/v1"), list[str]()
    with httpx.Client(timeout=timeout_s, trust_env=False) as client:
        for route in (*GUARDED_ROUTES, *UNGUARDED_ROUTES):
            try:
                status = client.post(f"{root}{route}", content=b"").status_code
            except httpx.HTTPError as error:
                raise TwinError(
                    f"ask {root}{route} without a key",
                    found=f"{type(error).__name__}: {error}",
                    next_step="read that server's log",
                ) from error
            if status not in {401, 403, 404}:
                open_routes.append(route)
    return open_routes


def load_adapter(url: str, key: str, *, name: str, path: str) -> None:
    """Load an adapter on the server under a name.

    Args:
        path: PEFT folder (`adapter_config.json`, `adapter_model.safetensors`) on the server's
            file system.

    Raises:
        RouteMissingError: the server has no such route.
        TwinError: the server refuses; `found` contains its message. Examples: the name is taken,
            the folder is missing, or the rank exceeds `--max-lora-rank`.
    """
    action = f"load the adapter {name} at {url} from {path}"
    _post(
        f"{url}/{LOAD_ROUTE}",
        key,
        {"lora_name": name, "lora_path": path},
        action=action,
        next_step="give the server access to that folder (TWIN_MODEL_SERVER_HOME), start it with "
        "a --max-lora-rank of at least the recipe's rank, and read its log",
    )


def unload_adapter(url: str, key: str, *, name: str) -> None:
    """Unload an adapter from the server.

    Raises:
        RouteMissingError: the server has no such route.
        TwinError: the server has no adapter with that name, or could not unload it.
    """
    _post(
        f"{url}/{UNLOAD_ROUTE}",
        key,
        {"lora_name": name},
        action=f"unload the adapter {name} at {url}",
        next_step="check which adapters it lists at /v1/models",
    )


def _post(url: str, key: str, body: Mapping[str, str], *, action: str, next_step: str) -> None:
    import httpx

    try:
        response = httpx.post(
            url,
            json=dict(body),
            headers=authorization_headers(key),
            timeout=LOAD_TIMEOUT_S,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise TwinError(
            action, found=f"{type(error).__name__}: {error}", next_step="read that server's log"
        ) from error
    if response.is_success:
        return
    message = _error_message(response)
    # A missing adapter is also a 404, but the web framework's own 404 contains only "Not Found".
    if response.status_code == 404 and message in {"", "Not Found"}:
        raise RouteMissingError(
            action, found="the server has no such route", next_step=ENABLE_ADAPTERS_STEP
        )
    raise TwinError(action, found=f"HTTP {response.status_code}: {message}", next_step=next_step)


def _error_message(response: httpx.Response) -> str:
    """Return the message of an error response.

    vLLM 0.10 and later nest it under `error`; earlier versions put it at the top level.
    """
    try:
        document: object = response.json()
    except ValueError:
        return response.text.strip()[:300]
    if not isinstance(document, dict):
        return str(document)[:300]
    fields = cast("dict[str, Any]", document)
    error = fields.get("error")
    error_fields: dict[str, Any] = (
        cast("dict[str, Any]", error) if isinstance(error, dict) else fields
    )
    return str(error_fields.get("message") or error_fields.get("detail") or "")[:300]
