"""The home at one moment, as requests read it: authors, policy, servers."""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from twin_resources.authors import Author
from twin_resources.registry.policy import AuthorPolicy, Policy

if TYPE_CHECKING:
    from twin_resources.router.policy_file import RoutingPolicy


@dataclass(frozen=True)
class Server:
    """One entry of `servers.json`.

    Attributes:
        url: OpenAI-compatible address, which ends in `/v1`.
        alias: the model name that the server serves.
        key: its API key, or empty.
        ready: whether it accepts requests.
        engine: software that computes the answers, with its version, or empty if unknown.
        context: tokens of prompt and answer together, or 0 if unknown.
    """

    url: str
    alias: str
    key: str
    ready: bool
    engine: str = ""
    context: int = 0


NO_SERVER = Server(url="", alias="", key="", ready=False)


@dataclass(frozen=True)
class Snapshot:
    """The whole input of a routing decision, read at one moment.

    Attributes:
        authors: authors by slug.
        policy: the policy, or None until one is read.
        servers: servers by version key: `base` or `<author>/v<version>`.
        has_paid_route: whether `@paid` exists.
        problems: missing or outdated shared configuration, one short clause each; they degrade
            every answer.
        author_problems: problems with the settings of one author, by slug.
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

    def collect_problems(self, author: str) -> tuple[str, ...]:
        problem = self.author_problems.get(author)
        return (*self.problems, problem) if problem else self.problems

    def get_author_policy(self, author: str) -> AuthorPolicy | None:
        """Return an author's served versions; none if the author disallows their provider."""
        policy = self.policy.authors.get(author) if self.policy else None
        entry = self.authors.get(author)
        if policy and policy.stable and policy.stable.provider and entry and not entry.paid:
            return replace(policy, stable=None, canary=None, weights={})
        return policy

    def get_server(self, server_key: str) -> Server:
        """Return a server's entry, or `NO_SERVER` if it is not published."""
        return self.servers.get(server_key, NO_SERVER)

    def is_ready(self, server_key: str) -> bool:
        return self.get_server(server_key).ready
