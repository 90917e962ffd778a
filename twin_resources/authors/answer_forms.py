"""The forms that an answer may have, and which of them a model's version is released for.

Belongs here: their names, and what is given where the wanted one is not released.
Does not belong here: the author's setting (`author_file.py`), the claim that releases `voice` (the
gate's `says_what_the_posts_say`), making an answer.

`quote` is the author's own sentences; `quote_and_voice` the same, with generated prose under a
heading of its own; `voice` generated prose alone. In the first two a reader sees what the author
wrote, whatever the model says beside it.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

AnswerForm = Literal["quote", "quote_and_voice", "voice"]
ANSWER_FORMS: tuple[AnswerForm, ...] = get_args(AnswerForm)
QUOTING_FORMS: tuple[AnswerForm, ...] = ("quote", "quote_and_voice")
VOICE: AnswerForm = "voice"


def given_form(
    wanted: AnswerForm, released_for: Sequence[str], *, version: str
) -> tuple[AnswerForm, str]:
    """The form that is given, and the clause for `degraded` where it is another than wanted.

    Args:
        wanted: the author's setting `answer`.
        released_for: forms that the version that answers is released for; `ANSWER_FORMS` for one
            that the client named.
        version: `v3`, `base` or `paid`, for the clause.
    """
    if wanted in released_for or wanted in QUOTING_FORMS:
        return wanted, ""
    return "quote_and_voice", f"{version} is not released for voice: quote_and_voice is given"
