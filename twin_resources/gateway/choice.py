"""Which version answers: the policy's weights, sticky per reader key, day and version.

Belongs here: resolving a model name against one snapshot, as pure functions.
Does not belong here: reading files (`live_config.py`), calling a server (`plugin.py`), writing
weights (`policy.py`).

A draw is a hash, not a random number: the same reader gets the same version all day on every
gateway, is drawn anew the next day, and anew when the versions change. The propensity logged is the
probability of the version that *answered*, given which servers were ready; off-policy estimates are
wrong without it.

A class that has fallen (`policy.Reroute`) is answered elsewhere before anything is drawn: that is
no draw, its propensity is 1. So a canary gets no request of a diverted class.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from twin_resources.access.keys import Key
from twin_resources.access.refusals import Refused
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import (
    ANSWER_FORMS,
    QUOTING_FORMS,
    VOICE,
    AnswerForm,
    given_form,
)
from twin_resources.gateway.request_body import ChatRequest
from twin_resources.registry.policy import LARGER, AuthorPolicy, Policy, ServedVersion
from twin_resources.registry.route_names import BASE, DIVERTED, DOWN, PAID, ROUTED

if TYPE_CHECKING:
    from twin_resources.router.policy_file import RoutingPolicy

# Who answers when the server of the drawn arm is not ready: never the canary, which is on trial.
_SUBSTITUTES = {"canary": ("stable", BASE), "stable": (BASE,), BASE: ()}


@dataclass(frozen=True)
class Server:
    """One entry of `servers.json`.

    Attributes:
        url: OpenAI-compatible address, ends in `/v1`.
        alias: the model name that it answers to.
        key: its API key, or empty.
        ready: whether it takes requests.
        engine: what computes the answers, with its version; empty: not told.
        context: tokens of prompt and answer together; 0: not told.
    """

    url: str
    alias: str
    key: str
    ready: bool
    engine: str = ""
    context: int = 0


@dataclass(frozen=True)
class Snapshot:
    """Everything that a choice rests on, read at one moment.

    Attributes:
        authors: by slug.
        policy: None until one could be read.
        servers: by version key: `base` or `<author>/v<version>`.
        has_paid_route: whether `@paid` exists.
        problems: why something shared is missing or old, one short clause each; they degrade every
            answer.
        author_problems: the same for one author's settings.
        paused: slug → since when and why the author's answers are stopped.
        routing: fitted routing policies by author.
    """

    authors: Mapping[str, Author]
    policy: Policy | None
    servers: Mapping[str, Server]
    has_paid_route: bool = False
    problems: tuple[str, ...] = ()
    author_problems: Mapping[str, str] = field(default_factory=dict[str, str])
    paused: Mapping[str, str] = field(default_factory=dict[str, str])
    routing: Mapping[str, RoutingPolicy] = field(default_factory=dict[str, "RoutingPolicy"])

    def problems_of(self, author: str) -> tuple[str, ...]:
        own = self.author_problems.get(author)
        return (*self.problems, own) if own else self.problems

    def policy_of(self, author: str) -> AuthorPolicy | None:
        """What is served of an author; nothing at another provider's against the author's word."""
        found = self.policy.authors.get(author) if self.policy else None
        there = self.authors.get(author)
        if found and found.stable and found.stable.provider and there and not there.paid:
            return replace(found, stable=None, canary=None, weights={})
        return found

    def is_ready(self, server_key: str) -> bool:
        server = self.servers.get(server_key)
        return server is not None and server.ready

    def engine_of(self, server_key: str) -> str:
        server = self.servers.get(server_key)
        return server.engine if server else ""

    def context_of(self, server_key: str) -> int:
        server = self.servers.get(server_key)
        return server.context if server else 0


@dataclass(frozen=True)
class RouteDecision:
    """The version that answers.

    Attributes:
        server_key: key of `servers.json` and name of the model group in LiteLLM's router.
        version: `v3`, `base` or `paid`.
        checkpoint: its hash, or empty for base and paid.
        template: hash of the prompt template it was trained with; empty: the default one.
        route: the arm that answers (`stable`, `canary`, `base`); `alias:<arm>` (also
            `alias:paid`) when the client named it, so that estimates about the policy leave it out;
            `divert:paid`, `divert:v2` when the prompt class is diverted; `routed:paid`,
            `routed:larger` when the author's routing policy chose it; `cascade:paid` when it
            answered a whole answer anew; `down:paid` while the own model's server is down.
        propensity: probability of this arm under the policy, given the ready servers; 1 for an
            alias and for what is diverted.
        degraded: why this is not what the policy wanted; empty when it is.
        engine: what computes the answer (`Server`).
        released_for: forms of answers that its verdict releases; all of a version that the client
            named, since it asked for that one.
        is_tuned: trained on the author's posts; not the base model, a paid or an answer model.
        is_elsewhere: an address that the author named answers: its time is not ours, nor its price
            known. provider: that address, where it is not on this machine.
    """

    server_key: str
    version: str
    checkpoint: str
    template: str
    route: str
    propensity: float
    degraded: tuple[str, ...] = ()
    engine: str = ""
    released_for: tuple[AnswerForm, ...] = QUOTING_FORMS
    is_tuned: bool = False
    is_elsewhere: bool = False
    provider: str = ""


def aliases_of(snapshot: Snapshot, author: str) -> list[str]:
    """The model names of one author that can be asked now, the policy's own first."""
    names = [f"twin/{author}"]
    policy = snapshot.policy_of(author)
    if policy and policy.stable:
        names.append(f"twin/{author}@stable")
    if policy and policy.canary:
        names.append(f"twin/{author}@canary")
    names.append(f"twin/{author}@{BASE}")
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
        `released_for` (the forms that the version may give), and `kind`: `answer_model` of one
        that the author named, `tuned` of one that was trained; the others have none.
    """
    author, _, alias = model.removeprefix("twin/").partition("@")
    chosen = named(snapshot, model)
    if chosen.version == PAID:
        return {"version": PAID, "answer": VOICE, "released_for": list(ANSWER_FORMS)}
    wanted = snapshot.authors[author].answer
    form, _ = given_form(wanted, chosen.released_for, version=chosen.version)
    told = {
        "version": chosen.version,
        "answer": VOICE if alias else form,
        "released_for": list(chosen.released_for),
    }
    served = _served(snapshot.policy_of(author), alias or "stable")
    return told | ({"kind": served.kind} if served else {})


def named(snapshot: Snapshot, model: str) -> RouteDecision:
    """Who answers for a model name that `models_for` lists, where nothing is diverted or down."""
    author, _, alias = model.removeprefix("twin/").partition("@")
    if alias == PAID:
        return RouteDecision(PAID, PAID, "", "", "alias:paid", 1.0, released_for=ANSWER_FORMS)
    return _arm(snapshot.policy_of(author), author, alias or "stable", propensity=1.0)


def diverted_to(snapshot: Snapshot, asked: ChatRequest) -> str:
    """Where this question's class is diverted to: `paid`, a version as `v2`, or empty.

    Who names an alias gets what was named.
    """
    policy = snapshot.policy_of(asked.author)
    if asked.alias or policy is None or policy.divert is None:
        return ""
    return policy.divert.places.get(asked.prompt_class, "")


def choose(
    snapshot: Snapshot, asked: ChatRequest, *, key: Key, day: date, paid_problem: str = ""
) -> RouteDecision:
    """Choose the version that answers.

    Args:
        asked: names author and alias.
        key: who asks; its `reader` makes the draw sticky.
        day: the UTC day of the draw.
        paid_problem: why the paid model cannot be asked now; empty: it can. Matters only where
            `diverted_to` is `paid`, or `is_down`.

    Raises:
        Refused: 404 no such author or alias, 403 not for this key, 503 no server is ready.
    """
    check_reach(snapshot, asked, key)
    policy = snapshot.policy_of(asked.author)
    if asked.alias == PAID:
        return RouteDecision(PAID, PAID, "", "", "alias:paid", 1.0, released_for=ANSWER_FORMS)
    if asked.alias:
        chosen = _arm(policy, asked.author, asked.alias, propensity=1.0, by_name=True)
        chosen = replace(chosen, released_for=ANSWER_FORMS)
        if not snapshot.is_ready(chosen.server_key):
            raise _not_ready(asked, chosen.server_key)
        return chosen
    place = diverted_to(snapshot, asked)
    diverted, problem = _diverted(snapshot, asked.author, place, paid_problem)
    if diverted is not None:
        return diverted
    # A canary's trial knows nothing of a diverted class; it does not learn of it by an accident.
    weights = {"stable": 1.0} if problem else arm_weights(policy)
    drawn = draw(weights, reader=key.reader, day=day, versions=_versions(policy))
    answering = _answering_arm(snapshot, policy, asked.author, drawn)
    if answering in {None, BASE} and drawn != BASE and may_pay(snapshot, asked.author):
        if not paid_problem:
            told = f"{drawn} not ready: answered by {PAID}"
            return RouteDecision(PAID, PAID, "", "", f"{DOWN}{PAID}", 1.0, (told,))
        problem = problem or f"{PAID}, {paid_problem}"  # a divert to it has said so
    if answering is None:
        raise _not_ready(asked, _arm(policy, asked.author, drawn, propensity=1.0).server_key)
    propensity = sum(
        weight
        for arm, weight in weights.items()
        if _answering_arm(snapshot, policy, asked.author, arm) == answering
    )
    reasons = (problem, "" if answering == drawn else f"{drawn} not ready")
    degraded = tuple(f"{reason}: answered by {answering}" for reason in reasons if reason)
    return _arm(policy, asked.author, answering, propensity=propensity, degraded=degraded)


def larger(
    snapshot: Snapshot, author: str, *, propensity: float
) -> tuple[RouteDecision | None, str]:
    """The larger model of our own that a fitted policy has chosen, or why it cannot answer."""
    policy = snapshot.policy_of(author)
    if policy is None or policy.larger is None:
        return None, "no longer served"
    route = f"{ROUTED}{LARGER}"
    chosen = _serving(author, policy.larger, route=route, propensity=propensity)
    if not snapshot.is_ready(chosen.server_key):
        return None, "not ready"
    return chosen, ""


def may_pay(snapshot: Snapshot, author: str) -> bool:
    """Whether the paid model may be asked for an author who was not asked for it by name."""
    known = snapshot.authors.get(author)
    return snapshot.has_paid_route and known is not None and known.paid


def is_down(snapshot: Snapshot, asked: ChatRequest) -> bool:
    """Whether the stable version that would answer this question has no server that is ready."""
    policy = snapshot.policy_of(asked.author)
    if asked.alias or policy is None or policy.stable is None:
        return False
    stable = _arm(policy, asked.author, "stable", propensity=1.0)
    return not snapshot.is_ready(stable.server_key)


def fallback_of(snapshot: Snapshot, author: str, chosen: RouteDecision) -> RouteDecision | None:
    """Who answers when a drawn canary, or the place of a diverted class, fails: the stable
    version, if its server is ready; and when an answer model at an address does: the base model.

    None for every other arm, and for a canary that the client named: it asked for that one.
    """
    policy = snapshot.policy_of(author)
    if policy is None or policy.stable is None:
        return None
    if chosen.route == "stable" and chosen.is_elsewhere:
        arm = BASE  # nobody here looks after that server, and it is looked at every 15 s
    elif chosen.route == "canary" or chosen.route.startswith((DIVERTED, ROUTED)):
        arm = "stable"
    else:
        return None
    found = _arm(policy, author, arm, propensity=1.0)
    return found if snapshot.is_ready(found.server_key) else None


def arm_weights(policy: AuthorPolicy | None) -> dict[str, float]:
    """The weights of the arms that exist, scaled to 1; base alone when no version is stable."""
    if policy is None or policy.stable is None:
        return {BASE: 1.0}
    there = {"stable": policy.stable, "canary": policy.canary}
    weights = {
        arm: weight for arm, weight in policy.weights.items() if weight > 0 and there.get(arm)
    }
    total = sum(weights.values())
    if total <= 0:
        return {"stable": 1.0}
    return {arm: weights[arm] / total for arm in sorted(weights)}


def draw(weights: Mapping[str, float], *, reader: str, day: date, versions: str) -> str:
    """Draw an arm: the same for the same reader, day and versions.

    Args:
        weights: they sum to 1.
        reader: hashed key.
        day: UTC.
        versions: names the versions on offer; a new one draws anew.
    """
    digest = hashlib.sha256(f"{reader}|{day.isoformat()}|{versions}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    reached = 0.0
    arm = BASE
    for arm, weight in weights.items():
        reached += weight
        if point < reached:
            return arm
    return arm  # rounding left the sum a hair below 1


def _diverted(
    snapshot: Snapshot, author: str, place: str, paid_problem: str
) -> tuple[RouteDecision | None, str]:
    """Who answers in the stable version's place, or why that one cannot; neither without place."""
    policy = snapshot.policy_of(author)
    if not place or policy is None or policy.divert is None:
        return None, ""
    route = f"{DIVERTED}{place}"
    if place == PAID:
        problem = paid_problem or ("" if snapshot.has_paid_route else "no paid model")
        if not snapshot.authors[author].paid:
            problem = "not for this author (paid = false)"
        chosen = RouteDecision(PAID, PAID, "", "", route, 1.0)
        return (None, f"{route}, {problem}") if problem else (chosen, "")
    served = policy.divert.versions.get(place)
    if served is None:
        return None, f"{route}, no longer served"
    chosen = _serving(author, served, route=route, propensity=1.0)
    if not snapshot.is_ready(chosen.server_key):
        return None, f"{route} not ready"
    return chosen, ""


def _answering_arm(
    snapshot: Snapshot, policy: AuthorPolicy | None, author: str, drawn: str
) -> str | None:
    for arm in (drawn, *_SUBSTITUTES[drawn]):
        if snapshot.is_ready(_arm(policy, author, arm, propensity=1.0).server_key):
            return arm
    return None


def _arm(
    policy: AuthorPolicy | None,
    author: str,
    arm: str,
    *,
    propensity: float,
    degraded: tuple[str, ...] = (),
    by_name: bool = False,
) -> RouteDecision:
    served = _served(policy, arm)
    route = f"alias:{arm}" if by_name else arm
    if served is None:
        return RouteDecision(BASE, BASE, "", "", route, propensity, degraded)
    return _serving(author, served, route=route, propensity=propensity, degraded=degraded)


def _serving(
    author: str,
    served: ServedVersion,
    *,
    route: str,
    propensity: float,
    degraded: tuple[str, ...] = (),
) -> RouteDecision:
    return RouteDecision(
        server_key=f"{author}/v{served.version}",
        version=f"v{served.version}",
        checkpoint=served.checkpoint,
        template=served.template,
        route=route,
        propensity=propensity,
        degraded=degraded,
        released_for=served.released_for,
        is_tuned=served.kind == "tuned",
        is_elsewhere=served.is_elsewhere,
        provider=served.provider,
    )


def _served(policy: AuthorPolicy | None, arm: str) -> ServedVersion | None:
    if policy is None or arm == BASE:
        return None
    return policy.stable if arm == "stable" else policy.canary


def _versions(policy: AuthorPolicy | None) -> str:
    served = (policy.stable, policy.canary) if policy else ()
    return "|".join(str(version.version) for version in served if version)


def check_reach(snapshot: Snapshot, asked: ChatRequest, key: Key) -> None:
    """Refuse a question that this key may not ask, or nobody now.

    Raises:
        Refused: 404 no such author or alias, 403 not for this key, 503 the author is paused.
    """
    mine = sorted(author for author in snapshot.authors if key.may_ask(author))
    listed = ", ".join(f"twin/{author}" for author in mine[:20]) or "no twin at all"
    if asked.author not in snapshot.authors:
        raise Refused(
            404,
            "unknown_author",
            tried=f"ask {asked.model}",
            found=f"no author {asked.author!r}; this key reaches {listed}",
            next_step="ask one of these, or import posts: twin up PATH --author NAME",
            param="model",
        )
    if not key.may_ask(asked.author):
        raise Refused(
            403,
            "author_not_allowed",
            tried=f"ask {asked.model}",
            found=f"a key that reaches {listed}",
            next_step="ask one of these, or ask the owner for a key for this author",
            param="model",
        )
    if asked.author in snapshot.paused:
        raise Refused(
            503,
            "author_paused",
            tried=f"ask {asked.model}",
            found=f"that its answers are stopped, {snapshot.paused[asked.author]}",
            next_step=f"ask again later; whoever runs this: twin pause {asked.author} --resume",
            param="model",
        )
    if asked.model not in aliases_of(snapshot, asked.author):
        raise Refused(
            404,
            "unknown_alias",
            tried=f"ask {asked.model}",
            found=f"only {', '.join(aliases_of(snapshot, asked.author))}",
            next_step="ask one of these",
            param="model",
        )

    if not key.may_name(asked.alias):
        mine = [
            name for name in aliases_of(snapshot, asked.author) if name in models_for(snapshot, key)
        ]
        raise Refused(
            403,
            "alias_not_allowed",
            tried=f"ask {asked.model}",
            found=f"a key that may ask {', '.join(mine)}",
            next_step="ask one of these, or ask the owner for a key with "
            f"`--alias @{asked.alias}` (twin keys add)",
            param="model",
        )


def _not_ready(asked: ChatRequest, server_key: str) -> Refused:
    return Refused(
        503,
        "no_server_ready",
        tried=f"answer with {asked.model}",
        found=f"the model server {server_key!r} is not ready",
        next_step="wait some seconds and ask again; `twin status` and the log `models` say why",
    )
