"""Run `twin questions`: list what was not answered, and write, quote or decline an answer."""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.text import Text

from twin_cli.commands.subject import choose_author
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.gateway.passage_finder import create_passage_finder
from twin_resources.models.quotes.unanswered import (
    QuestionCluster,
    describe_cluster,
    find_passage,
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
from twin_resources.processes.stack import find_running_settings
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

SHOWN_EXAMPLES = 3
SHOWN_CHARACTERS = 90


def run_questions(
    settings: Settings,
    author: str,
    *,
    days: int,
    write: str,
    quote: str,
    passage: str,
    never: str,
    undo: str,
    as_json: bool,
    console: Console,
) -> int:
    """List groups of unanswered questions, or act on one of them; return the exit code.

    Args:
        author: the author's name or slug; empty for the last-served or only author.
        days: how far back to look.
        write, quote, never, undo: the id of a group; at most one is set.
        passage: words of the passage that answers, word for word; only with `quote`.

    Raises:
        TwinError: the group or the passage is unknown, several actions are named, the author's
            posts are in no folder, or the trace store does not respond.
    """
    actions = {"write": write, "quote": quote, "never": never, "undo": undo}
    chosen = [name for name, cluster_id in actions.items() if cluster_id]
    if len(chosen) > 1 or bool(quote) != bool(passage):
        raise TwinError(
            "act on a group of questions",
            found=" and ".join(f"--{name}" for name in [*chosen, *["passage"] * bool(passage)]),
            next_step="name one action; --quote ID needs --passage WORDS, and no other does",
        )
    settings = find_running_settings(settings)
    subject = choose_author(settings, author)
    action = chosen[0] if chosen else ""
    with closing(open_home_state(settings)) as state:
        rules = read_rules(state, subject.slug)
        if undo:
            count = delete_rules(state, subject.slug, undo)
            if not count:
                raise _unknown_group(undo, [rule.cluster for rule in rules])
            facts: dict[str, Any] = {"count": count}
            return _report(console, as_json, action, undo, f"{count} rules deleted", facts)
        retriever = create_passage_finder(settings).open_retriever()
        since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        with LangfuseClient.from_settings(settings) as client:
            clusters = find_unanswered(
                client, retriever, QuestionRules(lambda: state), subject.slug, since=since
            )
        if not action:
            return _show(console, as_json, subject, clusters, rules, days)
        group = next((item for item in clusters if item.id == actions[action]), None)
        if group is None:
            raise _unknown_group(actions[action], [item.id for item in clusters])
        if write:
            file = write_draft(Tables(settings.tables_base, state=state), subject, group)
            facts, sentence = {"file": str(file)}, f"write the answer in {file}"
        else:
            answer = find_passage(retriever, subject.slug, passage) if quote else None
            save_decision(state, subject.slug, group, answer)
            facts = {"document_id": answer.document_id if answer else ""}
            sentence = (
                f"such questions are answered with a passage of {answer.title!r}"
                if answer
                else "such questions are declined from now on"
            )
    return _report(console, as_json, action, group.id, sentence, facts)


def _report(
    console: Console,
    as_json: bool,
    action: str,
    group: str,
    sentence: str,
    facts: Mapping[str, Any],
) -> int:
    if as_json:
        console.print_json(data={"action": action, "id": group, **facts})
    else:
        console.print(Text(sentence))
    return 0


def _unknown_group(cluster_id: str, known_ids: list[str]) -> TwinError:
    return TwinError(
        f"find the questions {cluster_id!r}",
        found=f"the ids are {', '.join(dict.fromkeys(known_ids)) or 'none'}",
        next_step="see `twin questions`",
    )


def _show(
    console: Console,
    as_json: bool,
    author: Author,
    clusters: list[QuestionCluster],
    rules: list[QuestionRule],
    days: int,
) -> int:
    if as_json:
        data = {
            "author": author.slug,
            "clusters": [describe_cluster(cluster) for cluster in clusters],
            "rules": [asdict(rule) for rule in rules],
        }
        console.print_json(data=data)
        return 0
    for cluster in clusters:
        facts = describe_cluster(cluster)
        reasons = ", ".join(
            f"{count} {reason}" for reason, count in facts["reasons"].items() if count
        )
        console.print(Text(f"{cluster.id}  {len(cluster.questions)} ({reasons})", "bold"))
        for text in facts["questions"][:SHOWN_EXAMPLES]:
            console.print(Text(f"  {text}"))
        for post in facts["nearest"]:
            console.print(Text(f"  → {post['title']}: {post['text']}"[:SHOWN_CHARACTERS], "dim"))
    counts = Counter((rule.cluster, rule.document_id) for rule in rules)
    for (cluster_id, document_id), count in counts.items():
        action = f"quotes {document_id}" if document_id else "never"
        console.print(Text(f"{cluster_id}  {format_count(count, 'question')}: {action}", "dim"))
    hint = "--write ID, --quote ID --passage WORDS, --never ID, --undo ID"
    console.print(
        Text(hint if clusters or rules else f"every question of {days} days was answered", "dim")
    )
    return 0
