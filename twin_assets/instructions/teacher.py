"""Ask a teacher model, which can be any LiteLLM model, to write questions.

Scope: the request, the usable part of its answer, retries, prices, and when to give up. The teacher
writes only the question; the answer remains the author's own text. Out of scope: storing its
questions (`teacher_questions.py`), one request and its cost (`access/paid_completion.py`),
templates (`back_translation.py`).

A bad reply affects only its own sample. After many consecutive samples without a usable reply, no
more requests are sent, because each sample may cost three.
"""
# pyright: strict

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twin_assets.corpus.shingles import shingles, split_words
from twin_assets.instructions.question_wordings import find_wordings
from twin_resources.access.account import open_account
from twin_resources.access.configured_model import classify_cost, is_model_remote, retry_delay_s
from twin_resources.access.paid_budget import answer_price_usd
from twin_resources.access.paid_completion import complete
from twin_resources.access.purpose_budget import PurposeBudget
from twin_resources.access.spending_limits import OverLimitError
from twin_resources.authors.consent import find_external_use_refusal
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.settings import Settings
    from twin_resources.storage.state.state import State

TEACHER_VERSION = "2"  # a new request language does not change it, so paid questions stay valid
WRITTEN, UNUSABLE, FAILED, OVER_BUDGET = "written", "unusable", "failed", "over_budget"
MAX_TRIES = 3
MAX_QUESTION_WORDS = 40
QUOTATION_WORDS = 8  # a question with this many consecutive words of the passage reveals its answer
_ANSWER_TOKENS = 100
_MAX_CONCURRENT = 4
_MAX_CONSECUTIVE = {FAILED: 8, UNUSABLE: 40}  # a weak model may give one usable reply in three
_PASSAGE = "Title of the post: {title}\n\nPassage:\n{passage}"


def build_request(prompt: TeacherPrompt, *, language: str = "") -> str:
    """Return the request to the teacher, in the author's language.

    Args:
        language: ISO 639-1; English for any language without wordings.
    """
    request = find_wordings(language).teacher_request
    return f"{request}\n\n{_PASSAGE.format(title=prompt.title, passage=prompt.passage)}"


@dataclass(frozen=True)
class TeacherPrompt:
    """The passage that the teacher sees, and the title of its post."""

    title: str
    passage: str


@dataclass(frozen=True)
class TeacherReply:
    """The result for one sample.

    Attributes:
        question: the question, or empty unless `outcome` is `written`.
        outcome: `written`; `unusable` if no reply contained a question, although the replies were
            paid for; `failed` if there was no reply; `over_budget` if a further request could have
            cost too much.
        tries: the number of requests sent.
        usd: their cost according to LiteLLM's price map, or 0 for a model that it does not list.
        reason: why the last try failed; never the text of a reply.
    """

    question: str = ""
    outcome: str = FAILED
    tries: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    usd: float = 0.0
    reason: str = ""


class Teacher:
    """A teacher for one update of the dataset.

    Args:
        model: a LiteLLM model name; its key and address come from the environment, as LiteLLM
            documents.
        budget: the spending limit, or None for a model without a price.
        language: the author's language, ISO 639-1; the request uses it if it is known.
        first_pause_s: the pause before the second try of a failed request; it doubles for the
            third. A pause requested by the server is respected, up to half a minute.
    """

    def __init__(
        self,
        model: str,
        *,
        budget: PurposeBudget | None = None,
        language: str = "",
        first_pause_s: float = 1.0,
        timeout_s: float = 60.0,
    ) -> None:
        self.model = model
        self.budget = budget
        self.fatal_error: TwinError | None = None  # if set, no more requests are sent
        self._language = language
        self._first_pause_s = first_pause_s
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._consecutive_counts = {FAILED: 0, UNUSABLE: 0}

    def ask(self, requests: Sequence[TeacherPrompt]) -> list[TeacherReply]:
        """Return one reply per passage, in order.

        A provider's failure does not raise an exception; see `fatal_error`.

        Raises:
            TwinError: the model has a price but no budget, or a budget but no known price, or
                neither although it is not self-hosted.
        """
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise it queries GitHub
        self._require_budget()
        with ThreadPoolExecutor(_MAX_CONCURRENT) as pool:
            return list(pool.map(self._ask, requests))

    def _require_budget(self) -> None:
        """Refuse a priced model without a budget, and a budget that cannot be enforced."""
        if (cost := classify_cost(self.model, os.environ)) == "priced" and self.budget is None:
            raise TwinError(
                f"ask the teacher {self.model} for questions",
                found="a paid model without a budget",
                next_step="set TWIN_TEACHER_BUDGET_PER_MONTH (US dollars), or unset "
                "TWIN_TEACHER_MODEL to use templates",
            )
        try:
            answer_price_usd(self.model, prompt_tokens=1, answer_tokens=1)
        except TwinError as error:
            if cost == "unknown" or self.budget is not None:
                raise TwinError(
                    f"enforce the budget of the teacher {self.model}",
                    found="LiteLLM's price map has no price for it",
                    next_step="set TWIN_TEACHER_MODEL to a model with a known price, or to your "
                    "own server (hosted_vllm/..., ollama/...) without "
                    "TWIN_TEACHER_BUDGET_PER_MONTH",
                ) from error

    def _ask(self, prompt: TeacherPrompt) -> TeacherReply:
        content = build_request(prompt, language=self._language)
        reply, should_retry = TeacherReply(), True
        while should_retry and reply.tries < MAX_TRIES and self.fatal_error is None:
            reply, should_retry = self._try_once(reply, content, passage=prompt.passage)
        if reply.tries and reply.outcome in _MAX_CONSECUTIVE:
            self._count_consecutive(reply)
        return reply

    def _try_once(
        self, previous: TeacherReply, content: str, *, passage: str
    ) -> tuple[TeacherReply, bool]:
        """Return the reply after one more request, and whether another may follow."""
        from openai import OpenAIError

        tries, costs = previous.tries + 1, list[float]()
        try:
            reply = complete(
                self.model,
                [{"role": "user", "content": content}],
                budget=self.budget,
                max_tokens=_ANSWER_TOKENS,
                # At temperature 0, the same request would return the same unusable answer.
                temperature=0.0 if tries == 1 else 0.7,
                timeout_s=self._timeout_s,
                on_settled=costs.append,
            )
        except OverLimitError:
            return replace(previous, outcome=OVER_BUDGET, reason="a limit of the account"), False
        except OpenAIError as error:  # the base class of every LiteLLM error
            failed_reply = replace(
                previous, outcome=FAILED, reason=type(error).__name__, tries=tries,
                usd=previous.usd + sum(costs),
            )  # fmt: skip
            return failed_reply, self._pause_before_retry(error, tries=tries)
        question = extract_question(reply.text, passage=passage)
        with self._lock:
            self._consecutive_counts[FAILED] = 0
            if question:
                self._consecutive_counts[UNUSABLE] = 0
        updated_reply = replace(
            previous,
            question=question,
            outcome=WRITTEN if question else UNUSABLE,
            tries=tries,
            prompt_tokens=previous.prompt_tokens + reply.prompt_tokens,
            answer_tokens=previous.answer_tokens + reply.answer_tokens,
            usd=previous.usd + reply.usd,
            reason="" if question else "no usable question",
        )
        return updated_reply, not question

    def _pause_before_retry(self, error: Exception, *, tries: int) -> bool:
        """Pause before a retry; return whether the failed request should be retried."""
        from openai import (
            AuthenticationError,
            BadRequestError,
            NotFoundError,
            PermissionDeniedError,
        )

        if isinstance(error, AuthenticationError | NotFoundError | PermissionDeniedError):
            self._give_up(error)
            return False
        if isinstance(error, BadRequestError):  # caused by this passage; a retry would fail too
            return False
        if tries < MAX_TRIES:
            time.sleep(
                retry_delay_s(error, attempt_count=tries, initial_delay_s=self._first_pause_s)
            )
        return True

    def _count_consecutive(self, reply: TeacherReply) -> None:
        """Count a sample without a question; give up after too many in a row."""
        max_samples = _MAX_CONSECUTIVE[reply.outcome]
        missing = {
            FAILED: f"a reply ({reply.reason})",
            UNUSABLE: "a usable question (a reasoning model may not reach one within the "
            f"{_ANSWER_TOKENS} tokens of a reply)",
        }[reply.outcome]
        with self._lock:
            self._consecutive_counts[reply.outcome] += 1
            is_limit_reached = self._consecutive_counts[reply.outcome] >= max_samples
        if is_limit_reached:
            self._give_up(f"{max_samples} samples in a row without {missing}")

    def _give_up(self, reason: object) -> None:
        self.fatal_error = self.fatal_error or TwinError(
            f"ask the teacher {self.model} for questions",
            found=str(reason).splitlines()[0],
            next_step="check the model's name, key and limits, then materialize the asset again "
            "(finished questions are kept), or unset TWIN_TEACHER_MODEL to use templates",
        )


def teacher_block_reason(settings: Settings, author: Author) -> str:
    """Return why the home's teacher must not see this author's posts.

    The result is empty if the teacher may see them, or if there is no teacher.
    """
    if not settings.teacher_model or not is_model_remote(settings.teacher_model, os.environ):
        return ""
    return find_external_use_refusal(author)


def load_teacher(settings: Settings, state: State, author: Author) -> Teacher | None:
    """Return a home's teacher for one author, or None if templates write the questions."""
    if not settings.teacher_model or teacher_block_reason(settings, author):
        return None
    budget = None
    if settings.teacher_budget_per_month is not None:
        budget = PurposeBudget(open_account(settings, state), "teacher", author=author.slug)
    return Teacher(settings.teacher_model, budget=budget, language=author.language)


_THINKING_BLOCK = re.compile(r"<think>.*?</think>", re.S)
_LABEL = re.compile(r"^(?:the )?(?:question|frage|pregunta|domanda|pergunta|vraag)\s*:\s*", re.I)


def extract_question(reply: str, *, passage: str = "") -> str:
    """Return the question in a teacher's answer.

    Returns:
        The first line that contains words. It is empty if that line has fewer than three or more
        than forty words, or quotes eight consecutive words of the passage, which would teach
        copying from the prompt.
    """
    lines = [line.strip(" \t\"'“”*#") for line in _THINKING_BLOCK.sub("", reply).splitlines()]
    line = _LABEL.sub("", next((line for line in lines if split_words(line)), "")).strip(" \"'“”*")
    if not 3 <= len(split_words(line)) <= MAX_QUESTION_WORDS:
        return ""
    quotes_passage = len(split_words(line)) >= QUOTATION_WORDS and not shingles(
        line, width=QUOTATION_WORDS
    ).isdisjoint(shingles(passage, width=QUOTATION_WORDS))
    return "" if quotes_passage else line
