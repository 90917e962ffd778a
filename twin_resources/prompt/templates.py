"""Versioned prompt templates: the one place where a prompt is put together.

Scope: the texts of the templates, their hashes, and `render`, which the gateway, the
training data and the evaluation call, so that a prompt in training looks like a prompt in
production.
Out of scope: choosing passages (`retrieval/retrieval.py`), the model's own chat markup (its
tokenizer's `chat_template` does that), the author's settings (`authors.Author`).

A template that a checkpoint was trained with is never edited: write a new one and keep the old one
in `TEMPLATES`, because dataset, checkpoint and trace name it by hash. Message format: the
`messages` of https://platform.openai.com/docs/api-reference/chat

What people write stays text: control tokens are broken in every content, and where a reader writes
what only the template writes (the heading of the passages, a numbered passage, `Question:`) the
line says that the reader wrote it. Both are no part of a template and change no hash: a prompt
without such a mark is the one that it always was, and a checkpoint that was trained on one with a
mark is asked something safer than it saw.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType

from twin_resources.errors import TwinError
from twin_resources.prompt.control_marks import FAMILIES, ControlMarks
from twin_resources.prompt.shown_passages import Excerpt, joined

Message = dict[str, str]
NOTE = "A note from the reader's program:"


@dataclass(frozen=True)
class Template:
    """The texts around a question. Fields in braces are filled by `render`.

    Attributes:
        id: a readable name; the hash is what counts.
        system: the system message; `{author}`.
        persona, refusal: of earlier releases' settings; the hash that checkpoints name covers them.
        passages: stands before the passages.
        passage: one passage; `{number}` from 1, `{title}`, `{date}` (ISO, or `undated`), `{text}`.
        question: the reader's question below passages; `{question}`.
        bare_question: the question when no passage was found; `{question}`.
    """

    id: str
    system: str
    persona: str
    refusal: str
    passages: str
    passage: str
    question: str
    bare_question: str

    @cached_property
    def hash(self) -> str:
        """SHA-256 over every text of the template, 16 hexadecimal digits."""
        canonical = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @cached_property
    def _imitation(self) -> re.Pattern[str]:
        """Lines that only the template writes, as a reader may imitate them; folded text."""
        heads = [self.passages, *(text.partition("{")[0] for text in (self.question, self.passage))]
        if "{number}" in self.passage.partition("{title}")[0]:
            heads[-1] = self.passage.partition("{title}")[0].strip()
        shapes = (
            re.escape(head.strip().casefold()).replace(r"\{number\}", r"\d+").replace(r"\ ", r"\s+")
            for head in heads
            if head.strip()
        )
        return re.compile(rf"[\W_]*?(?:{'|'.join(shapes)})")

    def as_readers(self, text: str) -> str:
        """The text of a reader's, each line that looks like the template's own marked as theirs.

        The first line of a question stands behind the template's `Question:` anyway; a heading of
        passages there would still begin a block of them. Doing it twice changes nothing.
        """
        lines = text.splitlines(keepends=True)  # also of the separators that no keyboard has
        if not any(self._imitation.match(_folded(line)) for line in lines):
            return text
        return "".join(
            f"{READERS}{line.lstrip()}" if self._imitation.match(_folded(line)) else line
            for line in lines
        )


def _folded(line: str) -> str:
    """For comparing: one form of each letter, no case, nothing invisible."""
    line = unicodedata.normalize("NFKC", line).casefold()
    if line.isascii():
        return line
    return "".join(one for one in line if unicodedata.category(one) != "Cf")


READERS = "(reader) "
"""Before a line of a reader's that imitates the prompt's own marking."""

DEFAULT_TEMPLATE = Template(
    id="excerpts-then-question-1",
    system=(
        "You answer readers in the voice of {author}, from what {author} has published. "
        "Write plain prose in the first person."
    ),
    persona="{persona}",
    refusal="Decline to speak about: {topics}.",
    passages="From my posts:",
    passage="[{number}] {title} ({date})\n{text}",
    question="Question: {question}",
    bare_question="Question: {question}",
)

TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {template.hash: template for template in (DEFAULT_TEMPLATE,)}
)


def template_by_hash(template_hash: str) -> Template:
    """The template that a dataset, a checkpoint or a trace names.

    Raises:
        TwinError: this code does not hold the template, so a prompt made with another one would not
            be what the checkpoint was trained on.
    """
    if template_hash not in TEMPLATES:
        raise TwinError(
            f"find the prompt template {template_hash}",
            found=f"only {', '.join(TEMPLATES)}",
            next_step="run the release of the code that trained this checkpoint, or retrain",
        )
    return TEMPLATES[template_hash]


def render(
    template: Template,
    *,
    author_name: str,
    question: str,
    passages: Iterable[Excerpt] = (),
    history: Sequence[Mapping[str, str]] = (),
    note: str = "",
    marks: ControlMarks = FAMILIES,
) -> list[Message]:
    """Put a question, the passages found for it and the author's settings into messages.

    Args:
        template: which texts to use.
        author_name: the author's display name.
        question: the reader's last message.
        passages: best first; none gives the bare question. Where one goes on where the one before
            it ends, in the same post, the two are shown as one.
        history: earlier turns of the conversation (`user` and `assistant` only), oldest first.
        note: what the reader's program says (its system message); every line of it is marked. It
            stands with the reader, not in our system message: a program is no author.
        marks: control tokens of the models that may read it; those of the families are always
            among them.

    Returns:
        One `system` message, the history, and one `user` message. Every content is stripped: a
        leading newline merges with the chat markup of some models and cost 31 of 200 training
        samples once.

    Raises:
        TwinError: a turn of the history has another role.
    """
    system = template.system.format(author=author_name).strip()
    messages = [{"role": "system", "content": system}]
    for turn in history:
        if turn["role"] not in {"user", "assistant"}:
            raise TwinError(
                "render the conversation so far",
                found=f"a message of role {turn['role']!r}",
                next_step="send user and assistant messages only; the system message is ours",
            )
        content = template.as_readers(turn["content"].strip())  # an assistant's turn is sent too
        messages.append({"role": turn["role"], "content": content})
    shown = [
        template.passage.format(
            number=number,
            title=passage.title.strip(),
            date=passage.published_at.date().isoformat() if passage.published_at else "undated",
            text=passage.text.strip(),
        )
        for number, passage in enumerate(joined(passages), start=1)
    ]
    question = template.as_readers(question.strip())
    noted = _noted(template.as_readers(note.strip()))
    if shown:
        question_text = template.question.format(question=question)
        content = "\n\n".join([template.passages, *shown, *noted, question_text])
    else:
        question_text = template.bare_question.format(question=question)
        content = "\n\n".join([*noted, question_text])
    messages.append({"role": "user", "content": content.strip()})
    return marks.escaped_messages(messages)


def question_alone(content: str) -> str:
    """A user's message of `render` without the passages above its question.

    The last line that begins as a question of a known template is the template's own: those that a
    reader wrote are marked. A note, which stands between the two, goes with the passages.
    """
    for template in TEMPLATES.values():
        head = template.question.partition("{question}")[0]
        if content.startswith(f"{template.passages}\n") and head:
            _, found, question = content.rpartition(f"\n\n{head}")
            if found:
                return template.bare_question.format(question=question).strip()
    return content


def _noted(note: str) -> list[str]:
    """The paragraph of a note; none without. No template's text: no checkpoint learned it."""
    lines = [f"> {line}".rstrip() for line in note.strip().splitlines()]
    return ["\n".join([NOTE, *lines])] if lines else []
