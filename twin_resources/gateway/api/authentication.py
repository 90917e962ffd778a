"""Authenticate requests inside LiteLLM with the keys of the gateway.

Scope: LiteLLM's `custom_auth`, and converting a refusal to LiteLLM's exception.
Out of scope: the permissions of a key (`access/keys.py`), and the hooks (`plugin.py`).

Interface: https://docs.litellm.ai/docs/proxy/custom_auth (1.106)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litellm.proxy._types import ProxyException, UserAPIKeyAuth

from twin_resources.access.keys import Keyring
from twin_resources.access.refusals import RefusedError

if TYPE_CHECKING:
    from fastapi import Request


class PluginRefusalError(ProxyException):
    """A refusal inside the proxy, with the same body as a refusal by the allow-list."""

    def __init__(self, refusal: RefusedError) -> None:
        self._error = refusal.body()["error"]
        super().__init__(
            message=str(refusal),
            type=str(self._error["type"]),
            param=self._error["param"],
            code=refusal.status,
            headers=refusal.headers(),
        )

    def to_dict(self) -> dict[str, Any]:
        return dict(self._error)


def create_authenticator(keyring: Keyring) -> Any:
    """Return the function for LiteLLM's `custom_auth`; it also replaces LiteLLM's master key.

    LiteLLM's user object contains the hash of the key, never the key itself.
    """

    async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:  # noqa: ARG001
        try:
            key = keyring.find(request.headers.get("authorization", ""))
        except RefusedError as error:
            raise PluginRefusalError(error) from error
        return UserAPIKeyAuth(api_key=key.reader)

    return authenticate
