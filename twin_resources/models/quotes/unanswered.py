"""What readers asked an author's twin and it did not answer, by meaning; what the author does.

The groups are computed from the traces, which hold no personal data, so nothing is stored of them
that an erasure would have to find. A decision is a rule of each question (`question_rules.py`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from twin_resources.errors import TwinError
from twin_resources.models.quotes.quoter import MIN_EVIDENCE
from twin_resources.models.retrieval.question_rules import QuestionRule, QuestionRules, save_rules
from twin_resources.models.retrieval.retrieval import Passage, RetrievalQuery, Retriever
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.score_names import (
    QUOTATIONS,
    QUOTE_SCORE,
    QUOTE_THRESHOLD,
    VOTE,
)
from twin_resources.observability.langfuse.trace_reading import (
    TraceFilter,
    TraceRow,
    read_trace_page,
)
from twin_resources.observability.notifications import Notice
from twin_resources.processes.wording import format_count
from twin_resources.registry.route_names import FRONT_DESK
from twin_resources.slugs import make_slug

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.authors import Author
    from twin_resources.storage.state.state import State
    from twin_resources.storage.tables.tables import Tables

Reason = Literal["declined", "voted down", "low score"]
LOW_MARGIN = 0.05  # a quotation whose evidence is less above the limit has a low score
# Of 100 draws of 4 questions about each of 5 intents from a bank's customers (half of Banking77),
# Ward's method puts 17.1 of 20 into the right group at 1.2, and 18.0 at 1.4, which joins unrelated
# questions too; average linkage 16.1 and complete linkage 16.6 at their best.
MAX_WARD_DISTANCE = 1.2
MAX_QUESTIONS = 1000  # the newest; each is searched for again
NEAREST_POSTS = 3
_PAGE_SIZE = 100
_NOTICE_GROUPS, _NOTICE_CHARACTERS = 10, 160


@dataclass(frozen=True)
class UnansweredQuestion:
    """A reader's question; `at` is ISO 8601 in UTC, and `text` is as the trace stores it."""

    trace_id: str
    at: str
    text: str
    reason: Reason


@dataclass(frozen=True)
class QuestionCluster:
    """Questions with one subject, the most typical first, and the posts that come nearest to it.

    Attributes:
        id: six hexadecimal digits, which stay the same while the earliest question is listed.
        nearest: the best passage of each of the nearest posts.
    """

    id: str
    questions: tuple[UnansweredQuestion, ...]
    nearest: tuple[Passage, ...]


def find_unanswered(
    client: LangfuseClient, retriever: Retriever, rules: QuestionRules, author: str, *, since: str
) -> list[QuestionCluster]:
    """Return the groups of questions that were not answered and still would not be, largest first.

    A question leaves the list when a new post or the author's rule answers it.

    Args:
        since: the earliest time of a question, ISO 8601 in UTC.

    Raises:
        TraceStoreError: the traces cannot be read.
    """
    questions = _read_questions(client, author, since)
    results = retriever.retrieve_many(author, [RetrievalQuery(item.text) for item in questions])
    open_items: list[tuple[UnansweredQuestion, Any, tuple[Passage, ...]]] = []
    for question, result in zip(questions, results, strict=True):
        ruled, is_declined = rules.apply(retriever, author, result, result, token_budget=0)
        # A vote against an answer is met by a newer post, not by the passage that was shown.
        is_found = result.evidence >= MIN_EVIDENCE + LOW_MARGIN and (
            question.reason != "voted down" or _is_newer(result.nearest, question.at)
        )
        if result.vector is not None and not (is_declined or is_found or ruled is not result):
            open_items.append((question, result.vector, result.nearest[:NEAREST_POSTS]))
    if not open_items:
        return []
    embedder = retriever.get_embedder(results[0].embedder)
    assert embedder is not None  # it has just embedded the questions
    clusters: list[QuestionCluster] = []
    for indexes in group_by_meaning(
        [vector for _, vector, _ in open_items], embedder.to_common_scale
    ):
        earliest = min((open_items[index][0] for index in indexes), key=lambda item: item.at)
        digest = hashlib.sha256(earliest.text.encode()).hexdigest()
        clusters.append(
            QuestionCluster(
                digest[:6],
                tuple(open_items[index][0] for index in indexes),
                open_items[indexes[0]][2],
            )
        )
    return sorted(clusters, key=lambda cluster: -len(cluster.questions))


def _is_newer(nearest: Sequence[Passage], at: str) -> bool:
    """Return whether the nearest post was published on the day of a question, or later."""
    published_at = nearest[0].published_at
    return published_at is not None and published_at.date().isoformat() >= at[:10]


def write_draft(tables: Tables, author: Author, cluster: QuestionCluster) -> Path:
    """Write the draft of a post that answers a group of questions; return its path.

    It lies in the folder "answers" beside the newest post of the author's first source. The
    questions are comments, which an import removes. An existing draft is kept.

    Raises:
        TwinError: the first source is no folder with posts.
    """
    source = author.sources[0] if author.sources else ""
    posts = tables.read("raw_posts", author.slug, columns=["source", "path", "created_at"])
    folders = [
        (Path(source) / row["path"]).parent
        for row in posts.sort("created_at", descending=True, nulls_last=True).iter_rows(named=True)
        if source and row["source"] == source
    ]
    folder = next((item for item in folders if item.is_dir()), None)
    if folder is None:
        raise TwinError(
            f"write a draft for {author.name}",
            found=f"the first source, {source or 'none'}, is no folder with posts",
            next_step="write the answer where you publish; it is quoted after the next import",
        )
    day = datetime.now(UTC).date().isoformat()
    # A reader's text must not end the comment or the quoted title.
    texts = [" ".join(item.text.replace("--", "–").split()) for item in cluster.questions]
    title = json.dumps(texts[0], ensure_ascii=False)
    comments = "\n".join(f"- {text}" for text in dict.fromkeys(texts))
    path = folder / "answers" / f"{day}-{make_slug(texts[0])}.md"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_text(
            f"---\ntitle: {title}\ndate: {day}\ndraft: true\n---\n\n"
            f"<!-- Asked {format_count(len(texts), 'time')}. Delete `draft: true` when your answer "
            f"is written, then run `twin import`.\n{comments}\n-->\n\n",
            encoding="utf-8",
        )
    return path


def find_passage(retriever: Retriever, author: str, words: str) -> Passage:
    """Return the best passage that contains the words, white space folded.

    Raises:
        TwinError: no passage contains them.
    """
    wanted = " ".join(words.split()).casefold()
    for passage in retriever.retrieve(author, words).ranked:
        if wanted in " ".join(passage.text.split()).casefold():
            return passage
    raise TwinError(
        "find the passage that answers",
        found=f"no post has the words {wanted!r}",
        next_step="copy a sentence of the passage into --passage, word for word",
    )


def save_decision(
    state: State, author: str, cluster: QuestionCluster, passage: Passage | None
) -> None:
    """Answer such questions with this passage from now on; without one, decline them."""
    at = datetime.now(UTC).isoformat()
    place = (passage.document_id, passage.chunk_id) if passage else ("", "")
    rules = [
        QuestionRule(item.trace_id, author, cluster.id, item.text, at, *place)
        for item in cluster.questions
    ]
    save_rules(state, rules)


def describe_cluster(cluster: QuestionCluster) -> dict[str, Any]:
    """Return what was asked and what comes nearest, without readers."""
    reasons = Counter(item.reason for item in cluster.questions)
    return {
        "id": cluster.id,
        "count": len(cluster.questions),
        "last_at": max(item.at for item in cluster.questions),
        "reasons": {name: reasons[name] for name in get_args(Reason)},
        "questions": list(dict.fromkeys(" ".join(i.text.split()) for i in cluster.questions)),
        "nearest": [
            {
                "document_id": passage.document_id,
                "title": passage.title,
                "url": passage.url,
                "text": " ".join(passage.text.split()),
            }
            for passage in cluster.nearest
        ],
    }


def build_notice(author: str, clusters: Sequence[QuestionCluster], *, now: datetime) -> Notice:
    """Return the notice of a week: the largest groups with an example each, and no reader.

    A calendar week has one key, so whatever repeats its run announces nothing more.
    """
    year, week, _ = now.isocalendar()
    lines = [
        f"{len(cluster.questions)} asked: {_shorten(cluster.questions[0].text)}\n"
        f"   nearest: {'; '.join(_shorten(passage.title) for passage in cluster.nearest)}"
        for cluster in clusters[:_NOTICE_GROUPS]
    ]
    count = sum(len(cluster.questions) for cluster in clusters)
    return Notice(
        key=f"questions to {author}, {year}-W{week:02}",
        event="questions",
        author=author,
        title=f"{author}: {count} questions of readers were not answered",
        text="\n".join(
            [*lines, f"`twin questions {author}` and the gateway's page /questions act."]
        ),
    )


def _shorten(text: str) -> str:
    return textwrap.shorten(text, _NOTICE_CHARACTERS, placeholder=" …")


def _read_questions(client: LangfuseClient, author: str, since: str) -> list[UnansweredQuestion]:
    """Return the newest unanswered questions, newest first."""
    questions: list[UnansweredQuestion] = []
    cursor = ""
    while len(questions) < MAX_QUESTIONS:
        page = read_trace_page(client, TraceFilter(author), limit=_PAGE_SIZE, start_cursor=cursor)
        for row in page.rows:
            reason = _find_reason(row)
            if row.at >= since and row.question.strip() and reason:
                questions.append(UnansweredQuestion(row.trace_id, row.at, row.question, reason))
        cursor = page.next_cursor
        if not cursor or not page.rows or page.rows[-1].at < since:
            break
    return questions[:MAX_QUESTIONS]


def _find_reason(row: TraceRow) -> Reason | None:
    """Return why an answer counts as none; None for a good answer and for one of the front desk."""
    if row.version == FRONT_DESK or row.error:
        return None
    numbers = [
        (item.name, float(item.value)) for item in row.scores if not isinstance(item.value, str)
    ]
    values, votes = dict(numbers), [number for name, number in numbers if name == VOTE]
    if votes and sum(votes) / len(votes) < 0.5:
        return "voted down"
    if values.get(QUOTATIONS) == 0:
        return "declined"
    score, threshold = values.get(QUOTE_SCORE), values.get(QUOTE_THRESHOLD)
    is_low = score is not None and threshold is not None and score < threshold + LOW_MARGIN
    return "low score" if is_low else None


def group_by_meaning(
    vectors: Sequence[np.ndarray], to_common_scale: Callable[[Any], Any]
) -> list[list[int]]:
    """Group vectors of norm 1 by Ward's method; the most typical of each group is first.

    Args:
        to_common_scale: `Embedder.to_common_scale`.
    """
    import numpy as np

    hierarchy: Any = import_module("scipy.cluster.hierarchy")  # it has no types
    matrix = np.stack(vectors)
    labels = np.ones(1, int)
    if len(matrix) > 1:
        cosines = to_common_scale((matrix @ matrix.T)[np.triu_indices(len(matrix), 1)])
        tree = hierarchy.linkage(np.sqrt(np.maximum(2.0 - 2.0 * cosines, 0.0)), "ward")
        labels = hierarchy.fcluster(tree, MAX_WARD_DISTANCE, "distance")
    groups: list[list[int]] = []
    for label in range(1, int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        typicality = matrix[members] @ matrix[members].sum(axis=0)
        groups.append(members[np.argsort(-typicality, kind="stable")].tolist())
    return groups
