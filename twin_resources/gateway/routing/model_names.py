"""List the model names of an author's twin, and check which of them a key may use.

Scope: the list for a key, the entry of a name in `/v1/models`, the refusal of other names. Out of
scope: which version answers (`decision.py`), the keys (`access/keys.py`).
"""
# pyright: strict

from __future__ import annotations

from typing import Any

from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.authors.answer_forms import VOICE, resolve_form
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import (
    decision_for_arm,
    paid_decision,
    served_version,
)
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.registry.route_names import BASE, DRAFT, PAID


def available_model_names(snapshot: Snapshot, author: str) -> list[str]:
    """Return the available model names of one author, starting with the name without an alias."""
    names = [f"twin/{author}"]
    policy = snapshot.get_author_policy(author)
    if policy and policy.stable:
        names.append(f"twin/{author}@stable")
    if policy and policy.canary:
        names.append(f"twin/{author}@canary")
    names += [f"twin/{author}@{BASE}", f"twin/{author}@{DRAFT}"]
    if snapshot.has_paid_route and snapshot.authors[author].paid:
        names.append(f"twin/{author}@{PAID}")
    return names


def model_names_for_key(snapshot: Snapshot, key: Key) -> list[str]:
    """Return every model name that this key may use, sorted by author."""
    return [
        name
        for author in sorted(snapshot.authors)
        if key.may_ask(author)
        for name in available_model_names(snapshot, author)
        if key.may_use_alias(name.partition("@")[2])
    ]


def model_fields(snapshot: Snapshot, model: str) -> dict[str, Any]:
    """Return a model name's fields in `/v1/models` that OpenAI's API does not have.

    They describe the version that answers while all servers are ready.

    Returns:
        `version` (`v3`, `base` or `paid`), `answer` (the current form of its answers),
        `released_for` (the forms for which the version is released) and `release` (a sentence on
        these forms, with the reason). `kind` is `answer_model` for a model that the author
        configured and `tuned` for a trained one; others have no `kind`.
    """
    author, _, alias = model.removeprefix("twin/").partition("@")
    arm = "stable" if alias in {"", DRAFT} else alias
    decision = (
        paid_decision("alias:paid") if alias == PAID else decision_for_arm(snapshot, author, arm)
    )
    form = resolve_form(snapshot.authors[author].answer, decision.prose_release)
    fields = {
        "version": decision.version,
        "answer": {"": form, DRAFT: "quote_and_voice"}.get(alias, VOICE),
        "released_for": list(decision.prose_release.forms),
        "release": decision.prose_release.description,
    }
    if decision.version == PAID:
        return fields
    version = served_version(snapshot.get_author_policy(author), arm)
    return fields | ({"kind": version.kind} if version else {})


def check_access(snapshot: Snapshot, chat_request: ChatRequest, key: Key) -> None:
    """Refuse a question that this key may not ask, or that no key may ask now.

    Raises:
        RefusedError: 404 if the author or alias does not exist, 403 if this key may not use it, 503
            if the author is paused.
    """
    check_author_access(snapshot, chat_request.author, key)
    model = chat_request.model
    names = available_model_names(snapshot, chat_request.author)
    if model not in names:
        message = f"This twin has no {model}, only the names {', '.join(names)}."
        raise RefusedError(404, "unknown_alias", message, param="model")
    if not key.may_use_alias(chat_request.alias):
        allowed_names = [name for name in names if key.may_use_alias(name.partition("@")[2])]
        message = (
            f"{model} needs a key that may use it; this one may use {', '.join(allowed_names)}. "
            f"Ask the owner for a key with `--alias @{chat_request.alias}` (twin keys add)."
        )
        raise RefusedError(403, "alias_not_allowed", message, param="model")


def check_author_access(snapshot: Snapshot, author: str, key: Key) -> None:
    """Refuse an author whom this key may not ask, or whom no key may ask now.

    Raises:
        RefusedError: 404, 403 or 503, as in `check_access`.
    """
    allowed_authors = sorted(slug for slug in snapshot.authors if key.may_ask(slug))
    allowed_models = ", ".join(f"twin/{slug}" for slug in allowed_authors[:20]) or "no twin"
    if author not in snapshot.authors:
        message = (
            f"There is no author {author!r}; this key may use {allowed_models}. Posts are imported "
            "by twin up PATH --author NAME."
        )
        raise RefusedError(404, "unknown_author", message, param="model")
    if not key.may_ask(author):
        message = (
            f"This is a key that may use {allowed_models}; ask the owner for a key for {author}."
        )
        raise RefusedError(403, "author_not_allowed", message, param="model")
    if author in snapshot.paused:
        message = (
            f"The answers of twin/{author} are stopped, {snapshot.paused[author]}; the owner of "
            f"the gateway can resume them with `twin pause {author} --resume`."
        )
        raise RefusedError(503, "author_paused", message, param="model")
