"""Serve `/questions`, where an author sees what readers asked and no post answered, and decides.

A page without a script: each button sends the form, and with it the key of role author, to this
page again. There is no cookie, so no other site's page can act for the author.
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.responses import HTMLResponse, Response

from twin_resources.access.keys import Key, Keyring
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.gateway.api.key_limits import KeyRequestCounter, count_request
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.passage_finder import PassageFinder
from twin_resources.models.quotes.unanswered import (
    QuestionCluster,
    describe_cluster,
    find_unanswered,
    save_decision,
    write_draft,
)
from twin_resources.models.retrieval.question_rules import (
    QuestionRule,
    QuestionRules,
    delete_rules,
    read_rules,
)
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.plain_page import render_page
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.models.retrieval.retrieval import Retriever

DAYS = 28
SHOWN_EXAMPLES, SHOWN_CHARACTERS = 3, 300
_HEADERS = {
    "cache-control": "no-store",  # the page has the key
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_STYLE = """
section { border-top: 1px solid #a8a29e; }
h2, h3 { line-height: 1.3; margin: 1.25rem 0 .25rem; }
h2 { font-size: 1.15rem; }
h3 { font-size: 1rem; }
li { margin-bottom: .75rem; }
button, input { font: 16px/1.4 system-ui, sans-serif; padding: .45rem .8rem; }
button { border: 1px solid #0f766e; border-radius: 8px; background: #0f766e; color: #fff; }
button, input { margin: .25rem .25rem .25rem 0; max-width: 100%; }
:focus-visible { outline: 3px solid #d97706; outline-offset: 2px; }
"""
_TITLE = "Questions that no post answered"


@dataclass
class QuestionsPage:
    """The page of a home.

    Attributes:
        live_config: the authors that may be chosen.
        finder: opens the retriever.
        admission, request_counter: the limits of a key.
    """

    settings: Settings
    keyring: Keyring
    live_config: LiveConfig
    finder: PassageFinder
    admission: AdmissionControl
    request_counter: KeyRequestCounter
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # a list may take seconds

    async def respond(self, body: bytes) -> Response:
        """Answer a form, which is empty for a first visit; a refusal is a page in words."""
        form = dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=10))
        if "key" not in form:
            return _respond(_render_key_form())
        try:
            key = await asyncio.to_thread(self.keyring.find, f"Bearer {form['key']}")
            author = self._choose_author(key, form.get("author", ""))
            if author is None:
                return _respond(self._render_choice(form["key"], key))
            async with count_request(key, self.admission, self.request_counter), self._lock:
                retriever = await self.finder.call_retriever(lambda retriever: retriever)
                return _respond(
                    await asyncio.to_thread(self._act_and_list, retriever, author, form)
                )
        except RefusedError as error:
            error.log_operator_fault()
            html = f'<p role="alert">{escape(error.client_message)}</p>{_render_key_form()}'
            return _respond(html, status=error.status)
        except TwinError as error:
            return _respond(f'<p role="alert">{escape(str(error))}</p>', status=503)

    def _choose_author(self, key: Key, slug: str) -> Author | None:
        """Return the author of a key, or None if it has several and none is named.

        Raises:
            RefusedError: 403 if the key has another role, or is for none of the authors.
        """
        if key.role != "author":
            message = (
                f"This is a key with the role {key.role}. Use one with the role author "
                "(`twin keys add NAME --role author`)."
            )
            raise RefusedError(403, "role_not_allowed", message)
        known = self.live_config.current.authors
        allowed = [known[name] for name in sorted(known) if key.may_ask(name)]
        chosen = [author for author in allowed if slug in {"", author.slug}]
        if not chosen:
            authors = ", ".join(sorted(key.authors))
            message = f"This is a key for {authors}; ask the twin's owner for another."
            raise RefusedError(403, "author_not_allowed", message)
        return chosen[0] if len(chosen) == 1 else None

    def _render_choice(self, token: str, key: Key) -> str:
        authors = self.live_config.current.authors
        buttons = "".join(
            _render_button("author", slug, authors[slug].name)
            for slug in sorted(authors)
            if key.may_ask(slug)
        )
        return f"<p>Whose questions?</p>{_render_form(buttons, key=token)}"

    def _act_and_list(self, retriever: Retriever, author: Author, form: Mapping[str, str]) -> str:
        """Do what the pressed button says, and return the list as it is now."""
        state = self.keyring.state
        group, done = form.get("group", ""), ""
        if "undo" in form:
            count = delete_rules(state, author.slug, form["undo"])
            done = f"{format_count(count, 'decision')} taken back."

        def find() -> list[QuestionCluster]:
            since = (datetime.now(UTC) - timedelta(days=DAYS)).isoformat()
            rules = QuestionRules(lambda: state)
            with LangfuseClient.from_settings(self.settings) as client:
                return find_unanswered(client, retriever, rules, author.slug, since=since)

        clusters = find()
        cluster = next((item for item in clusters if item.id == group), None)
        if group and cluster is None:
            done = "These questions are not in the list any more."
        elif cluster is not None and "write" in form:
            from twin_resources.storage.tables.tables import Tables  # with polars

            tables = Tables(self.settings.tables_base, state=state)
            try:
                path = write_draft(tables, author, cluster)
                done = f"Write your answer in answers/{path.name}, beside your newest post."
            except TwinError as error:  # the posts are in no folder of this machine
                done = str(error)
        elif cluster is not None:
            passage = next(
                (item for item in cluster.nearest if item.chunk_id == form.get("quote")), None
            )
            if passage is None and "never" not in form:
                done = "This passage has changed since. Choose again."
            else:
                save_decision(state, author.slug, cluster, passage)
                done = "Such questions are declined from now on."
                if passage is not None:
                    done = f"Such questions are answered with “{passage.title}” from now on."
                clusters = find()
        notice = f'<p role="status"><strong>{escape(done)}</strong></p>' if done else ""
        rules = read_rules(state, author.slug)
        return notice + _render_list(author, clusters, rules, token=form["key"])


def _respond(html: str, *, status: int = 200) -> Response:
    page = render_page(_TITLE, html, style=_STYLE, language="en")
    return HTMLResponse(page, status_code=status, headers=_HEADERS)


def _render_key_form() -> str:
    return (
        '<form method="post" action="/questions"><p><label for="key">Your key, of the role author'
        '</label><br><input id="key" name="key" type="password" autocomplete="current-password" '
        "required> <button>Show my questions</button></p></form>"
    )


def _render_form(body: str, **fields: str) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in fields.items()
    )
    return f'<form method="post" action="/questions">{hidden}{body}</form>'


def _render_button(name: str, value: str, text: str, about: str = "") -> str:
    """Return a button; a screen reader reads `about` after its text."""
    label = f' aria-label="{escape(f"{text}: {about}")}"' if about else ""
    return f'<button name="{name}" value="{escape(value)}"{label}>{escape(text)}</button>'


def _render_list(
    author: Author, clusters: Sequence[QuestionCluster], rules: Sequence[QuestionRule], token: str
) -> str:
    count = sum(len(cluster.questions) for cluster in clusters)
    facts = f"To {author.name}, in the last {DAYS} days: " + (
        f"{format_count(count, 'question')} about {format_count(len(clusters), 'subject')}."
        if clusters
        else "every question was answered."
    )
    sections = "".join(_render_cluster(author, cluster, token) for cluster in clusters)
    decided: dict[str, list[QuestionRule]] = {}
    for rule in rules:
        decided.setdefault(rule.cluster, []).append(rule)
    decisions = "".join(
        _render_form(
            f"<p>{format_count(len(group), 'question')} such as “{escape(group[0].question)}”: "
            f"{'answered with your passage' if group[0].document_id else 'declined'} "
            f"{_render_button('undo', cluster, 'Take this back', group[0].question)}</p>",
            key=token,
            author=author.slug,
        )
        for cluster, group in decided.items()
    )
    section = f"<section><h2>What you decided</h2>{decisions}</section>" if decisions else ""
    return f'<p class="facts">{escape(facts)}</p>{sections}{section}'


def _render_cluster(author: Author, cluster: QuestionCluster, token: str) -> str:
    facts = describe_cluster(cluster)
    first, *others = facts["questions"][:SHOWN_EXAMPLES]
    reasons = ", ".join(f"{count} {name}" for name, count in facts["reasons"].items() if count)
    examples = "".join(f"<li>{escape(text)}</li>" for text in others)
    posts: list[str] = []
    for passage in cluster.nearest:
        title, text = escape(passage.title), " ".join(passage.text.split())
        if passage.url.startswith(("https://", "http://")):
            title = f'<a href="{escape(passage.url)}" rel="noreferrer">{title}</a>'
        shown = text[:SHOWN_CHARACTERS] + "…" * (len(text) > SHOWN_CHARACTERS)
        button = _render_button("quote", passage.chunk_id, "Quote this", passage.title)
        posts.append(f"<li>{title}<blockquote>{escape(shown)}</blockquote>{button}</li>")
    buttons = _render_button("write", "yes", "Write an answer", first) + _render_button(
        "never", "yes", "Never answer this", first
    )
    nearest = f"<h3>Nearest posts</h3><ol>{''.join(posts)}</ol>" if posts else ""
    return (
        f'<section><h2>{escape(first)}</h2><p class="facts">asked '
        f"{format_count(facts['count'], 'time')} ({escape(reasons)}), last on "
        f"{escape(facts['last_at'][:10])}</p>{f'<ul>{examples}</ul>' if examples else ''}"
        + _render_form(nearest + buttons, key=token, author=author.slug, group=cluster.id)
        + "</section>"
    )
