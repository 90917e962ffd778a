"""Represent a conversation as the browser stores it: questions, answers and their facts.

Scope: the fields of a turn, the messages for a model, and the messages on the page.
Out of scope: calling the gateway (`gateway_client.py`), widgets (`chat_tab.py`).

Turns are plain dictionaries because they are sent as JSON. Only the browser stores them
(`localStorage`). The page shows a failed turn, but models do not receive it.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

from twin_resources.models.quotes.answer_text import split_prose
from twin_resources.page.escaping import escape_html, escape_markdown
from twin_resources.page.footnotes import list_passages

MAX_TURNS = 60  # a browser stores 5 MB per site, and a turn with its passages needs about 8 KB
TurnStatus = Literal["writing", "whole", "stopped", "failed"]
_SOURCE_LINE = re.compile(r"\n>\n> — [^\n]*")
_THUMBS = {"up": "Like", "down": "Dislike"}


class Turn(TypedDict):
    """One question and its answer.

    `how` is the status. `twin` is the gateway's `twin` field for a complete answer, else empty.
    `vote` is `up`, `down` or empty. `why` is the reason for a failure.
    """

    question: str
    answer: str
    how: TurnStatus
    twin: dict[str, Any]
    model: str
    vote: str
    why: str


Conversations = dict[str, list[Turn]]


def new_turn(question: str, model: str) -> Turn:
    """Return a turn for a new question."""
    return Turn(question=question, answer="", how="writing", twin={}, model=model, vote="", why="")


def parse_conversations(browser_state: object) -> dict[str, list[Turn]]:
    """Return the turns by author from the browser's state, which may be outdated or invalid.

    The author of the latest conversation comes last.
    """
    turns_by_author = (
        cast("dict[str, Any]", browser_state) if isinstance(browser_state, dict) else {}
    )
    return {str(author): _parse_turns(rows) for author, rows in turns_by_author.items()}


def replace_turns(
    conversations: Mapping[str, list[Turn]], author: str, turns: list[Turn]
) -> Conversations:
    """Return the conversations with the author's turns replaced and moved to the end."""
    other_conversations = {
        slug: slug_turns for slug, slug_turns in conversations.items() if slug != author
    }
    return other_conversations | {author: turns[-MAX_TURNS:]}


def _parse_turns(rows: object) -> list[Turn]:
    turns: list[Turn] = []
    for row in cast("list[object]", rows) if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        fields = cast("dict[str, Any]", row)
        turn = new_turn(str(fields.get("question", "")), str(fields.get("model", "")))
        for name in ("answer", "vote", "why"):
            turn[name] = str(fields.get(name, ""))
        status, twin = fields.get("how"), fields.get("twin")
        turn["how"] = status if status in ("whole", "stopped", "failed") else "stopped"
        turn["twin"] = cast("dict[str, Any]", twin) if isinstance(twin, dict) else {}
        turns.append(turn)
    return turns[-MAX_TURNS:]


def build_model_messages(
    turns: Sequence[Turn], question: str, *, model: str
) -> list[dict[str, str]]:
    """Return the messages for a model: the turns that it answered, and the new question.

    Answers from other versions are omitted, because readers compare them with this model's answers.
    """
    messages: list[dict[str, str]] = []
    for turn in turns:
        is_answered = turn["answer"].strip() and turn["how"] in ("whole", "stopped")
        if is_answered and turn["model"] == model:
            messages.append({"role": "user", "content": turn["question"]})
            messages.append({"role": "assistant", "content": turn["answer"]})
    return [*messages, {"role": "user", "content": question}]


def render_messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Return the messages on the page; an unanswered turn has only its question."""
    messages: list[dict[str, str]] = []
    for turn in turns:
        messages.append({"role": "user", "content": escape_markdown(turn["question"])})
        if turn["answer"] or turn["how"] == "writing":
            messages.append({"role": "assistant", "content": _render_answer(turn) or "…"})
    return messages


def select_answered_turns(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns that have an answer on the page."""
    return [turn for turn in turns if turn["answer"] or turn["how"] == "writing"]


def _render_answer(turn: Turn) -> str:
    """Return the answer as Markdown with its first quotation.

    The other passages, or all if nothing was found, are folded in the footnotes, and numbers in
    their place lead to them.
    """
    quotes = list_passages(turn["twin"], "quotes")
    folded = quotes[1:] if quotes else list_passages(turn["twin"], "nearest")
    above, label, prose = split_prose(turn["answer"])
    text, rest = _cut_passages(above, folded)
    shown = escape_markdown(text)
    if text and len(above) > len(text) + len(rest) and folded:
        numbers = range(1 + bool(quotes), 1 + bool(quotes) + len(folded))
        shown += "".join(f" [{number}](#passage-{number})" for number in numbers)
    return shown + escape_markdown(rest) + _frame_prose(label, prose)


def _frame_prose(label: str, prose: str) -> str:
    """Return a program's prose in a frame with its label first, or "" without a label."""
    if not label:
        return ""
    # An empty line ends the HTML, so that Markdown renders the prose inside the element. The prose
    # is the end of the message, so the browser closes it, after an open code block too.
    return (
        f'\n\n<aside class="twin-prose"><p class="twin-prose-label">{escape_html(label)}</p>'
        f"\n\n{escape_markdown(prose)}"
    )


def _cut_passages(answer: str, passages: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the text before and after these passages, which follow each other in the answer.

    If one of them is not where it should be, nothing is cut.
    """
    ends: list[tuple[int, int]] = []
    for passage in passages:
        match passage.get("at"):
            case [int(begin), int(end)] if 0 <= begin < end and answer[begin : begin + 2] == "> ":
                source = _SOURCE_LINE.match(answer, end)
                ends += [(begin, source.end())] if source else []
            case _:
                pass
    if not ends or len(ends) < len(passages):
        return answer, ""
    return answer[: ends[0][0]].rstrip("\n"), answer[ends[-1][1] :]


def list_feedback_values(turns: Sequence[Turn]) -> list[str | None]:
    """Return one vote per message part; an answer's parts are its text and its footnotes."""
    return [
        _THUMBS.get(turn["vote"])
        for turn in select_answered_turns(turns)
        for _part in range(1 + bool(turn["twin"]))
    ]


def find_turn_index(turns: Sequence[Turn], message: object) -> int | None:
    """Return the index of a message's turn, or None if there is no such message.

    Args:
        message: index of the message, or Gradio's `[message, part]`.
    """
    parts = cast("list[object]", list(message)) if isinstance(message, list | tuple) else [message]  # pyright: ignore[reportUnknownArgumentType]
    message_number = parts[0] if parts else None
    message_count = 0
    for index, turn in enumerate(turns):
        message_count += 1 + bool(turn["answer"] or turn["how"] == "writing")
        if isinstance(message_number, int) and 0 <= message_number < message_count:
            return index
    return None


def find_last_answered_index(turns: Sequence[Turn]) -> int | None:
    """Return the index of the last turn whose answer has a trace and so accepts feedback."""
    for index in range(len(turns) - 1, -1, -1):
        if turns[index]["twin"].get("trace_id"):
            return index
    return None
