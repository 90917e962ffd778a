"""Who asks, as LiteLLM carries it: a key on its way through the proxy, and a refusal.

Scope: LiteLLM's `custom_auth`, a key as LiteLLM's user and back, a refusal as LiteLLM's
exception.
Out of scope: what a key may do (`access/keys.py`), the hooks (`plugin.py`).

https://docs.litellm.ai/docs/proxy/custom_auth (1.106)
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from litellm.proxy._types import ProxyException, UserAPIKeyAuth

from twin_resources.access.keys import Key, KeyLimits, Keyring
from twin_resources.access.refusals import Refused

if TYPE_CHECKING:
    from fastapi import Request


class RefusedByPlugin(ProxyException):
    """A refusal inside the proxy, with the body that the allow-list gives its own."""

    def __init__(self, refused: Refused) -> None:
        self._error = refused.body()["error"]
        super().__init__(
            message=str(refused),
            type=str(self._error["type"]),
            param=self._error["param"],
            code=refused.status,
            headers=refused.headers(),
        )

    def to_dict(self) -> dict[str, Any]:
        return dict(self._error)


def user_of(key: Key) -> UserAPIKeyAuth:
    """What LiteLLM's hooks see of a key: its hash, never the key."""
    return UserAPIKeyAuth(
        api_key=key.reader,
        metadata={
            "reader": key.reader,
            "role": key.role,
            "authors": sorted(key.authors),
            "label": key.label,
            "id": key.id,
            "limits": asdict(key.limits) | {"aliases": sorted(key.limits.aliases)},
        },
    )


def key_of(user: UserAPIKeyAuth) -> Key:
    """The key that `user_of` was made from."""
    fields = user.metadata
    authors, limits = frozenset[str](fields["authors"]), fields["limits"]
    terms = (fields["reader"], fields["role"], authors, fields["label"], fields["id"])
    return Key(*terms, KeyLimits(**limits | {"aliases": frozenset[str](limits["aliases"])}))


def authenticator(keyring: Keyring) -> Any:
    """The function that LiteLLM's `custom_auth` calls; it replaces LiteLLM's master key too."""

    async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:  # noqa: ARG001
        try:
            return user_of(keyring.find(request.headers.get("authorization", "")))
        except Refused as error:
            raise RefusedByPlugin(error) from error

    return authenticate
