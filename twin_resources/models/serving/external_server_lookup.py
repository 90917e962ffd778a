"""Find the external server of an answer model by its address.

Scope: a single check that the model is available.
Out of scope: periodic checks for the fleet (`external_server.py`), this home's servers
(`fleet_member.py`), one server for the whole home (`TWIN_MODEL_SERVER_URL`, `model_server.py`),
valid names (`answer_model.py`).
"""

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.settings import Settings
from twin_resources.storage.weights.answer_model import list_model_ids, split_stored_name


def find_external_server(
    settings: Settings, address: str, *, timeout_s: float = 10.0
) -> RunningServer:
    """Return the server for an address such as `https://…/v1#model`.

    Raises:
        TwinError: the server does not answer or does not offer that model.
    """
    url, model = split_stored_name(address)
    model_ids = list_model_ids(url, settings.answer_model_key, timeout_s=timeout_s)
    if model not in model_ids:
        raise TwinError(
            f"serve {model} at {url}",
            found=f"it offers {', '.join(model_ids) or 'no model'}",
            next_step="load it there, or choose a different one with `twin up --answer-model`",
        )
    return RunningServer(url, model, settings.answer_model_key, None, url.removesuffix("/v1"))
