"""An answer model at an address: the server that it is.

Scope: asking it once whether it is there. Out of scope: asking it now and then, for
the fleet (`external_server.py`), servers of ours (`fleet_member.py`), the one server that answers
for a whole home (`TWIN_MODEL_SERVER_URL`, `model_server.py`), what a name may be
(`answer_model.py`).
"""

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.settings import Settings
from twin_resources.storage.weights.answer_model import address_of, offered_ids


def named_server(settings: Settings, name: str, *, timeout_s: float = 10.0) -> RunningServer:
    """The server behind `https://…/v1#model`.

    Raises:
        TwinError: it does not answer, or does not offer that model any more.
    """
    url, model = address_of(name)
    offered = offered_ids(url, settings.answer_model_key, timeout_s=timeout_s)
    if model not in offered:
        raise TwinError(
            f"serve {model} at {url}",
            found=f"it offers {', '.join(offered) or 'no model'}",
            next_step="load it there, or name another with `twin up --answer-model`",
        )
    return RunningServer(url, model, settings.answer_model_key, None, url.removesuffix("/v1"))
