"""Assemble prompts from versioned templates; no other module builds prompts.

Scope: the texts of the templates, their hashes, and `render`. The gateway, the training data and
the evaluation all call `render`, so that prompts look the same in training and in production.
Out of scope: choosing passages (`retrieval/retrieval.py`), the model's own chat markup (its
tokenizer's `chat_template` adds it), the author's settings (`authors.Author`).

Never edit a template with which a checkpoint was trained. Write a new template and keep the old one
in `TEMPLATES`, because datasets, checkpoints and traces refer to it by hash. Message format: the
`messages` of https://platform.openai.com/docs/api-reference/chat

Text written by people stays text. Control tokens are escaped in all content. If a reader writes a
line that only the template should write (the heading of the passages, a numbered passage,
`Question:`), the line is marked as the reader's. Neither change is part of a template or its hash.
A prompt without such marks stays unchanged. If a checkpoint was trained on a prompt with an
unescaped mark, it now receives a safer prompt.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from types import MappingProxyType

from twin_resources.errors import TwinError
from twin_resources.prompt.control_marks import COMMON_MARKS, ControlMarks
from twin_resources.prompt.shown_passages import Excerpt, join_passages

Message = dict[str, str]
NOTE_HEADING = "A note from the reader's program:"


@dataclass(frozen=True)
class Template:
    """The texts around a question; `render` fills the fields in braces.

    Attributes:
        id: readable name; the hash is the identifier.
        system: system message with the field `{author}`.
        passages: heading above the passages.
        passage: text of one passage with the fields `{number}` (from 1), `{title}`, `{date}` (ISO
            or `undated`) and `{text}`.
        question: text of the question below the passages, with the field `{question}`.
        bare_question: text of the question without passages, with the field `{question}`.
    """

    id: str
    system: str
    passages: str
    passage: str
    question: str
    bare_question: str

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all texts of the template, 16 hexadecimal digits."""
        canonical = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @cached_property
    def _imitation_pattern(self) -> re.Pattern[str]:
        """Pattern, for folded text, of template lines that a reader may imitate."""
        heads = [self.passages, *(text.partition("{")[0] for text in (self.question, self.passage))]
        if "{number}" in self.passage.partition("{title}")[0]:
            heads[-1] = self.passage.partition("{title}")[0].strip()
        patterns = (
            re.escape(head.strip().casefold()).replace(r"\{number\}", r"\d+").replace(r"\ ", r"\s+")
            for head in heads
            if head.strip()
        )
        return re.compile(rf"[\W_]*?(?:{'|'.join(patterns)})")

    def mark_imitations(self, text: str) -> str:
        """Mark each line of a reader's text that imitates the template.

        This includes the first line of a question, although it follows the template's `Question:`.
        A passages heading there could still start a block of passages. The method is idempotent.
        """
        lines = text.splitlines(keepends=True)  # also splits at unusual Unicode separators
        if not any(self._imitation_pattern.match(_fold(line)) for line in lines):
            return text
        return "".join(
            f"{READER_PREFIX}{line.lstrip()}"
            if self._imitation_pattern.match(_fold(line))
            else line
            for line in lines
        )


def _fold(line: str) -> str:
    """Return the line with normalized letters, in lower case, without invisible characters."""
    line = unicodedata.normalize("NFKC", line).casefold()
    if line.isascii():
        return line
    return "".join(character for character in line if unicodedata.category(character) != "Cf")


READER_PREFIX = "(reader) "
"""Prefix of a reader's line that imitates the prompt's own markup."""

DEFAULT_TEMPLATE = Template(
    id="excerpts-then-question-2",
    system=(
        "You answer readers in the voice of {author}, from what {author} has published. "
        "Write plain prose in the first person. Where passages are given, repeat what they say "
        "with as few changes as you can, and add nothing."
    ),
    passages="From my posts:",
    passage="[{number}] {title} ({date})\n{text}",
    question="Question: {question}",
    bare_question="Question: {question}",
)

ANSWER_MODEL_TEMPLATE = replace(
    DEFAULT_TEMPLATE,
    id="quotations-then-question-1",
    system=(
        "You are {author}, and you answer readers from what you have published. Answer the "
        "question with the sentences of the passages that answer it, in the first person, with as "
        "few changes as you can. Add nothing. Write no headings. Do not begin with yes or no."
    ),
)
"""For a model that was not trained on the author's posts; its passages are the quotations."""

TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {template.hash: template for template in (DEFAULT_TEMPLATE, ANSWER_MODEL_TEMPLATE)}
)


def find_template(template_hash: str) -> Template:
    """Return the template with the hash in a dataset, a checkpoint or a trace.

    Raises:
        TwinError: this release does not have the template; a prompt from another template would not
            match the checkpoint's training.
    """
    if template_hash not in TEMPLATES:
        raise TwinError(
            f"find the prompt template {template_hash}",
            found=f"this release has only the templates {', '.join(TEMPLATES)}",
            next_step="run the release that trained this checkpoint, or train again",
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
    marks: ControlMarks = COMMON_MARKS,
) -> list[Message]:
    """Build messages from a question, its passages and the author's settings.

    Args:
        template: template to use.
        author_name: display name of the author.
        question: last message of the reader.
        passages: passages, best first; without passages, the prompt has the bare question. A
            passage that continues the previous one in the same post is joined to it.
        history: earlier turns of the conversation (`user` and `assistant` only), oldest first.
        note: system message of the reader's program. Its lines are marked and added to the reader's
            message, not to the template's system message, because a program is not the author.
        marks: control tokens of the models that may read the prompt, in addition to those of the
            model families.

    Returns:
        One `system` message, the history, and one `user` message. All content is stripped, because
        a leading newline merges with the chat markup of some models. This once made 31 of 200
        training samples unusable.

    Raises:
        TwinError: a turn of the history has another role.
    """
    system = template.system.format(author=author_name).strip()
    messages = [{"role": "system", "content": system}]
    for turn in history:
        if turn["role"] not in {"user", "assistant"}:
            raise TwinError(
                "render the conversation so far",
                found=f"a message with the role {turn['role']!r}",
                next_step="send only user and assistant messages; the system message is added",
            )
        # Assistant turns are marked too, because clients also send them.
        content = template.mark_imitations(turn["content"].strip())
        messages.append({"role": turn["role"], "content": content})
    passage_texts = [
        template.passage.format(
            number=number,
            title=passage.title.strip(),
            date=passage.published_at.date().isoformat() if passage.published_at else "undated",
            text=passage.text.strip(),
        )
        for number, passage in enumerate(join_passages(passages), start=1)
    ]
    question = template.mark_imitations(question.strip())
    note_paragraphs = _format_note(template.mark_imitations(note.strip()))
    if passage_texts:
        question_text = template.question.format(question=question)
        content = "\n\n".join([template.passages, *passage_texts, *note_paragraphs, question_text])
    else:
        question_text = template.bare_question.format(question=question)
        content = "\n\n".join([*note_paragraphs, question_text])
    messages.append({"role": "user", "content": content.strip()})
    return marks.escape_messages(messages)


def strip_passages(content: str) -> str:
    """Return a user message from `render` without the passages above its question.

    The last line that starts like a known template's question is the template's own line, because
    imitations by readers are marked. A note between passages and question is also removed.
    """
    for template in TEMPLATES.values():
        head = template.question.partition("{question}")[0]
        if content.startswith(f"{template.passages}\n") and head:
            _, separator, question = content.rpartition(f"\n\n{head}")
            if separator:
                return template.bare_question.format(question=question).strip()
    return content


def _format_note(note: str) -> list[str]:
    """Return a note's paragraph, or none; notes are not part of the templates used in training."""
    lines = [f"> {line}".rstrip() for line in note.strip().splitlines()]
    return ["\n".join([NOTE_HEADING, *lines])] if lines else []
