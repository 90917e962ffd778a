"""The names under which an author's twin can be asked, and which of them a key may ask.

Scope: the list for a key, what `/v1/models` says of a name, the refusal of a name that is
not on it. Out of scope: who answers (`rules.py`), what a key is (`access/keys.py`).
"""
# pyright: strict

from __future__ import annotations

from typing import Any

from twin_resources.access.keys import Key
from twin_resources.access.refusals import Refused
from twin_resources.authors.answer_forms import VOICE, given_form
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.variants import arm_of, paid, served_by
from twin_resources.registry.route_names import BASE, DRAFT, PAID


def aliases_of(snapshot: Snapshot, author: str) -> list[str]:
    """The model names of one author that can be asked now, the policy's own first."""
    names = [f"twin/{author}"]
    policy = snapshot.policy_of(author)
    if policy and policy.stable:
        names.append(f"twin/{author}@stable")
    if policy and policy.canary:
        names.append(f"twin/{author}@canary")
    names += [f"twin/{author}@{BASE}", f"twin/{author}@{DRAFT}"]
    if snapshot.has_paid_route and snapshot.authors[author].paid:
        names.append(f"twin/{author}@{PAID}")
    return names


def models_for(snapshot: Snapshot, key: Key) -> list[str]:
    """Every model name that this key may ask, by author."""
    return [
        name
        for author in sorted(snapshot.authors)
        if key.may_ask(author)
        for name in aliases_of(snapshot, author)
        if key.may_name(name.partition("@")[2])
    ]


def answers_of(snapshot: Snapshot, model: str) -> dict[str, Any]:
    """What `/v1/models` says of a model name beyond OpenAI's fields.

    Returns:
        `version` (`v3`, `base` or `paid`), `answer` (the form that an answer gets today),
        `released_for` (the forms that the version may give) and `release` (the same in words, with
        why not), and `kind`: `answer_model` of one that the author named, `tuned` of one that was
        trained; the others have none.
    """
    author, _, alias = model.removeprefix("twin/").partition("@")
    chosen = named(snapshot, model)
    form = given_form(snapshot.authors[author].answer, chosen.prose)
    fields = {
        "version": chosen.version,
        "answer": {"": form, DRAFT: "quote_and_voice"}.get(alias, VOICE),
        "released_for": list(chosen.prose.forms),
        "release": chosen.prose.in_words,
    }
    if chosen.version == PAID:
        return fields
    arm = "stable" if alias in {"", DRAFT} else alias
    served = served_by(snapshot.policy_of(author), arm)
    return fields | ({"kind": served.kind} if served else {})


def named(snapshot: Snapshot, model: str) -> RouteDecision:
    """Who answers for a model name that `models_for` lists, where nothing is down."""
    author, _, alias = model.removeprefix("twin/").partition("@")
    if alias == PAID:
        return paid("alias:paid")
    return arm_of(snapshot, author, "stable" if alias in {"", DRAFT} else alias)


def check_reach(snapshot: Snapshot, chat_request: ChatRequest, key: Key) -> None:
    """Refuse a question that this key may not ask, or nobody now.

    Raises:
        Refused: 404 no such author or alias, 403 not for this key, 503 the author is paused.
    """
    mine = sorted(author for author in snapshot.authors if key.may_ask(author))
    listed = ", ".join(f"twin/{author}" for author in mine[:20]) or "no twin at all"
    if chat_request.author not in snapshot.authors:
        raise Refused(
            404,
            "unknown_author",
            tried=f"ask {chat_request.model}",
            found=f"no author {chat_request.author!r}; this key reaches {listed}",
            next_step="ask one of these, or import posts: twin up PATH --author NAME",
            param="model",
        )
    if not key.may_ask(chat_request.author):
        raise Refused(
            403,
            "author_not_allowed",
            tried=f"ask {chat_request.model}",
            found=f"a key that reaches {listed}",
            next_step="ask one of these, or ask the owner for a key for this author",
            param="model",
        )
    if chat_request.author in snapshot.paused:
        raise Refused(
            503,
            "author_paused",
            tried=f"ask {chat_request.model}",
            found=f"that its answers are stopped, {snapshot.paused[chat_request.author]}",
            next_step=f"ask again later; whoever runs this: twin pause {chat_request.author} "
            f"--resume",
            param="model",
        )
    if chat_request.model not in aliases_of(snapshot, chat_request.author):
        raise Refused(
            404,
            "unknown_alias",
            tried=f"ask {chat_request.model}",
            found=f"only {', '.join(aliases_of(snapshot, chat_request.author))}",
            next_step="ask one of these",
            param="model",
        )

    if not key.may_name(chat_request.alias):
        mine = [
            name
            for name in aliases_of(snapshot, chat_request.author)
            if name in models_for(snapshot, key)
        ]
        raise Refused(
            403,
            "alias_not_allowed",
            tried=f"ask {chat_request.model}",
            found=f"a key that may ask {', '.join(mine)}",
            next_step="ask one of these, or ask the owner for a key with "
            f"`--alias @{chat_request.alias}` (twin keys add)",
            param="model",
        )
