"""Ask a teacher model, any model that LiteLLM can name, to write questions.

Scope: the request, the usable part of its answer, retries, prices, and when to give up. The teacher
writes only the question; the answer remains the author's own text. Out of scope: storing its
questions (`teacher_questions.py`), spending limits (`access/account.py`), templates
(`back_translation.py`).

A bad reply loses only its own sample. A failure that every sample meets ends the requests, even if
it is a useless answer, because each sample pays for that three times. The amount reserved before a
request is an upper bound: a token of text is at least one byte.
API: https://docs.litellm.ai/docs/completion/input
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
from typing import TYPE_CHECKING, Any

from twin_assets.instructions.similar_keys import shingles, words_of
from twin_resources.access.account import account_of
from twin_resources.access.named_model import cost_of, leaves_machine, pause_s
from twin_resources.access.purpose_budget import PurposeBudget
from twin_resources.access.spending_limits import OverLimit
from twin_resources.authors.consent import what_keeps_here
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.settings import Settings
    from twin_resources.storage.state.state import State

TEACHER_VERSION = "2"  # not raised for a request in another language: paid questions stay valid
WRITTEN, UNUSABLE, FAILED, OVER_BUDGET = "written", "unusable", "failed", "over_budget"
TRIES = 3
MAX_QUESTION_WORDS = 40
QUOTED_WORDS = 8  # consecutive words of the passage: such a question gives away its answer
_ANSWER_TOKENS = 100
_REQUEST_TOKENS = 64  # tokens that a provider may add to a message
_AT_ONCE = 4
_FAILURES_IN_A_ROW = 8
_USELESS_IN_A_ROW = 40  # a weak model may give one usable reply in three
_REQUEST = (
    "A reader asks an author a question, and the passage below is the author's answer. Write that "
    "question: one sentence of at most 30 words, in the language of the passage, that names what "
    "the passage is about without quoting it. Answer with the question alone.\n\n"
    "Title of the post: {title}\n\nPassage:\n{passage}"
)
# A small model that is asked in English answers in English. The rest of the request is the same.
_ASKED_IN = {
    "de": (
        "Jemand stellt einem Autor eine Frage, und der Abschnitt unten ist die Antwort des Autors. "
        "Schreib diese Frage: ein deutscher Satz von höchstens 30 Wörtern, der nennt, worum es in "
        "dem Abschnitt geht, ohne ihn zu zitieren. Antworte nur mit der Frage."
    ),
    "fr": (
        "Un lecteur pose une question à un auteur, et le passage ci-dessous est la réponse de "
        "l’auteur. Écris cette question : une phrase en français de 30 mots au plus, qui nomme le "
        "sujet du passage sans le citer. Réponds par la question seule."
    ),
    "es": (
        "Un lector hace una pregunta a un autor, y el pasaje de abajo es la respuesta del autor. "
        "Escribe esa pregunta: una frase en español de 30 palabras como máximo, que nombre el tema "
        "del pasaje sin citarlo. Responde solo con la pregunta."
    ),
    "it": (
        "Un lettore fa una domanda a un autore, e il brano qui sotto è la risposta dell’autore. "
        "Scrivi quella domanda: una frase in italiano di al massimo 30 parole, che nomini "
        "l’argomento del brano senza citarlo. Rispondi solo con la domanda."
    ),
    "pt": (
        "Um leitor faz uma pergunta a um autor, e o trecho abaixo é a resposta do autor. Escreva "
        "essa pergunta: uma frase em português de no máximo 30 palavras, que diga de que trata o "
        "trecho sem o citar. Responda apenas com a pergunta."
    ),
    "nl": (
        "Een lezer stelt een auteur een vraag, en de passage hieronder is het antwoord van de "
        "auteur. Schrijf die vraag: één Nederlandse zin van hoogstens 30 woorden, die noemt waar "
        "de passage over gaat zonder haar te citeren. Antwoord alleen met de vraag."
    ),
}


def request_for(prompt: TeacherPrompt, *, language: str = "") -> str:
    """Return the request to the teacher, in the author's language.

    Args:
        language: an ISO 639-1 code. If it is empty or unknown here, the request is in English and
            asks for a question in the language of the passage.
    """
    asked, _, material = _REQUEST.partition("\n\n")
    asked = _ASKED_IN.get(language, asked)
    return f"{asked}\n\n{material.format(title=prompt.title, passage=prompt.passage)}"


@dataclass(frozen=True)
class TeacherPrompt:
    """The passage that the teacher is shown and the title of its post."""

    title: str
    passage: str


@dataclass(frozen=True)
class TeacherReply:
    """The result for one sample.

    Attributes:
        question: the question, or empty unless `outcome` is `written`.
        outcome: `written`; `unusable` if no reply contained a question, although the replies were
            paid for; `failed` if there was no reply; `over_budget` if another request could have
            cost too much.
        tries: the number of requests sent.
        usd: their cost by LiteLLM's price map, or 0 for a model that the map does not list.
        reason: why the last try failed; never text of a reply.
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
        self.broken: TwinError | None = None  # why no more requests are sent
        self._language = language
        self._first_pause_s = first_pause_s
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._failures = 0
        self._useless = 0
        self._priced: bool | None = None

    def ask(self, requests: Sequence[TeacherPrompt]) -> list[TeacherReply]:
        """Return one reply per passage, in order.

        A provider's failure raises nothing; see `broken`.

        Raises:
            TwinError: the model has a price and no budget, a budget and no known price, or neither
                without being a self-hosted server.
        """
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise it asks GitHub
        if self._priced is None:
            self._priced = self._has_price()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._ask, requests))

    def _has_price(self) -> bool:
        cost = cost_of(self.model, os.environ)
        if cost == "priced" and self.budget is None:
            raise TwinError(
                f"have the teacher {self.model} write questions",
                found="a model that costs money, and no budget",
                next_step="set TWIN_TEACHER_BUDGET_PER_MONTH (US dollars), or unset "
                "TWIN_TEACHER_MODEL to use templates",
            )
        unpriced = self._price(1, 1) is None
        if cost == "unknown" or (unpriced and self.budget is not None):
            raise TwinError(
                f"keep the budget of the teacher {self.model}",
                found="no price for it in LiteLLM's price map",
                next_step="name a model with a known price in TWIN_TEACHER_MODEL, or a server of "
                "your own (hosted_vllm/..., ollama/...) without TWIN_TEACHER_BUDGET_PER_MONTH",
            )
        return cost == "priced"

    def _price(self, prompt_tokens: int, answer_tokens: int) -> float | None:
        from twin_resources.access.paid_budget import price_of

        try:
            return price_of(self.model, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
        except TwinError:
            return None

    def _ask(self, one: TeacherPrompt) -> TeacherReply:
        content = request_for(one, language=self._language)
        reply, again = TeacherReply(), True
        while again and reply.tries < TRIES and self.broken is None:
            reply, again = self._try(reply, content, passage=one.passage)
        if reply.outcome == FAILED and reply.tries:
            self._count_failure(reply.reason)
        if reply.outcome == UNUSABLE:
            self._count_useless()
        return reply

    def _try(
        self, before: TeacherReply, content: str, *, passage: str
    ) -> tuple[TeacherReply, bool]:
        """Return the reply after one more request, and whether another may follow."""
        from openai import APITimeoutError, OpenAIError

        bound = self._price(len(content.encode()) + _REQUEST_TOKENS, _ANSWER_TOKENS) or 0.0
        try:
            reserved = None if self.budget is None else self.budget.reserve(bound)
        except OverLimit:
            return replace(before, outcome=OVER_BUDGET, reason="a limit of the account"), False
        tries, cost = before.tries + 1, 0.0
        try:
            reply = self._complete(content, tries=tries)
        except OpenAIError as error:  # the base class of every LiteLLM error
            # A provider may well charge for an answer that came too late.
            cost = bound if isinstance(error, APITimeoutError) else 0.0
            failed = replace(
                before, outcome=FAILED, reason=type(error).__name__, tries=tries,
                usd=before.usd + cost,
            )  # fmt: skip
            return failed, self._again_after(error, tries=tries)
        else:
            used = (reply.usage.prompt_tokens or 0, reply.usage.completion_tokens or 0)
            # If a server does not report its usage, the full bound is charged.
            cost = (self._price(*used) or 0.0) if any(used) else bound
            question = usable_question(_said(reply), passage=passage)
            with self._lock:
                self._failures = 0
                self._useless = 0 if question else self._useless
            written = replace(
                before,
                question=question,
                outcome=WRITTEN if question else UNUSABLE,
                tries=tries,
                prompt_tokens=before.prompt_tokens + used[0],
                answer_tokens=before.answer_tokens + used[1],
                usd=before.usd + cost,
                reason="" if question else "no usable question",
            )
            return written, not question
        finally:
            if self.budget is not None and reserved is not None:
                self.budget.settle(reserved, cost)

    def _complete(self, content: str, *, tries: int) -> Any:
        import litellm

        from twin_resources.access.paid_budget import provider_completion

        litellm.suppress_debug_info = True
        return provider_completion()(
            model=self.model,
            messages=[{"role": "user", "content": content}],
            # The same request would return the same unusable answer.
            temperature=0.0 if tries == 1 else 0.7,
            max_tokens=_ANSWER_TOKENS,
            num_retries=0,
            max_retries=0,
            timeout=self._timeout_s,
            drop_params=True,  # some models accept no temperature
        )

    def _again_after(self, error: Exception, *, tries: int) -> bool:
        """Pause if the failed request is worth another try; return whether it is."""
        from openai import BadRequestError

        if self._is_final(error):
            self._give_up(error)
            return False
        if isinstance(error, BadRequestError):  # caused by this passage; a retry would fail too
            return False
        if tries < TRIES:
            time.sleep(pause_s(error, tries=tries, first_s=self._first_pause_s))
        return True

    def _is_final(self, error: Exception) -> bool:
        from openai import AuthenticationError, NotFoundError, PermissionDeniedError

        return isinstance(error, AuthenticationError | NotFoundError | PermissionDeniedError)

    def _count_failure(self, reason: str) -> None:
        with self._lock:
            self._failures += 1
            too_many = self._failures >= _FAILURES_IN_A_ROW
        if too_many:
            self._give_up(f"{_FAILURES_IN_A_ROW} samples in a row without a reply ({reason})")

    def _count_useless(self) -> None:
        with self._lock:
            self._useless += 1
            too_many = self._useless >= _USELESS_IN_A_ROW
        if too_many:
            self._give_up(
                f"{_USELESS_IN_A_ROW} samples in a row without a usable question (a model that "
                f"thinks first does not come to one within the {_ANSWER_TOKENS} tokens of a reply)"
            )

    def _give_up(self, why: object) -> None:
        self.broken = self.broken or TwinError(
            f"have the teacher {self.model} write questions",
            found=str(why).splitlines()[0],
            next_step="check the name, its key and its limits and materialize again (what it wrote "
            "is kept), or unset TWIN_TEACHER_MODEL to use templates",
        )


def why_not_taught(settings: Settings, author: Author) -> str:
    """Return why the home's teacher may not see this author's posts.

    The result is empty if it may, or if there is no teacher.
    """
    if not settings.teacher_model or not leaves_machine(settings.teacher_model, os.environ):
        return ""
    return what_keeps_here(author)


def teacher_of(settings: Settings, state: State, author: Author) -> Teacher | None:
    """Return a home's teacher for one author, or None if templates write the questions."""
    if not settings.teacher_model or why_not_taught(settings, author):
        return None
    budget = None
    if settings.teacher_budget_per_month is not None:
        budget = PurposeBudget(account_of(settings, state), "teacher", author=author.slug)
    return Teacher(settings.teacher_model, budget=budget, language=author.language)


def _said(reply: Any) -> str:
    """Return the text of a reply, or an empty text if it has no choices or content."""
    return str(reply.choices[0].message.content or "") if reply.choices else ""


_THOUGHTS = re.compile(r"<think>.*?</think>", re.S)
_LABEL = re.compile(r"^(?:the )?(?:question|frage|pregunta|domanda|pergunta|vraag)\s*:\s*", re.I)


def usable_question(reply: str, *, passage: str = "") -> str:
    """Return the question in a teacher's answer.

    Returns:
        The first line that contains words. It is empty if that line has fewer than three or more
        than forty words, or quotes eight consecutive words of the passage, which would teach
        copying from the prompt.
    """
    lines = [line.strip(" \t\"'“”*#") for line in _THOUGHTS.sub("", reply).splitlines()]
    line = _LABEL.sub("", next((line for line in lines if words_of(line)), "")).strip(" \"'“”*")
    if not 3 <= len(words_of(line)) <= MAX_QUESTION_WORDS:
        return ""
    quoted = len(words_of(line)) >= QUOTED_WORDS and not shingles(
        line, width=QUOTED_WORDS
    ).isdisjoint(shingles(passage, width=QUOTED_WORDS))
    return "" if quoted else line
