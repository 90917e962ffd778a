"""What the served model says: answers with their log-probabilities over the OpenAI interface.

Scope: asking a running server, or several that serve the same model. Out of scope:
how a server starts (`model_server.py`), how long it is waited for (`timeouts.py`), judging the
answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.models.serving.timeouts import LIMIT_S, StallPolicy
from twin_resources.prompt.control_marks import FAMILIES

if TYPE_CHECKING:
    import httpx

ALTERNATIVES = 5
AT_ONCE = 2  # requests in flight at one server: as many as a server of ours answers side by side

Serve = Callable[[], AbstractContextManager[RunningServer]]
Prompt = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class ServedAnswer:
    """One greedy answer.

    Attributes:
        text: as a reader would get it.
        tokens: ids of the answer's tokens.
        log_probabilities: for each token the most probable ids with their natural log-probability.
        seconds: from the request to the end of the answer.
        in_step: how many tokens from the first are known to be the answer's of their places; None:
            all.
    """

    text: str
    tokens: tuple[int, ...]
    log_probabilities: tuple[Mapping[int, float], ...]
    seconds: float = 0.0
    in_step: int | None = None


class PromptQueue:
    """Prompts that servers of one model share: each takes the next one when it is free.

    Attributes:
        answers: by position, one for each of `tokens`.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        *,
        tokens: Sequence[int],
        frequency_penalty: float = 0.0,
        texts_only: bool = False,
        advance: Callable[[int], object] = lambda _answers: None,
    ) -> None:
        """
        Args:
            prompts: messages each.
            tokens: of an answer at most; several: a prompt is asked that often, at once, so that
                what follows the first comes from a server's cache of it.
            frequency_penalty: of the choice of tokens; their log-probabilities are those before it.
            texts_only: without log-probabilities, which not every server reports.
            advance: called with 1 after each answer.
        """
        self.answers: dict[int, list[ServedAnswer]] = {}
        # As the gateway would: a row of a dataset may be older than the escaping of such tokens.
        self._waiting = deque(enumerate(map(FAMILIES.escaped_messages, prompts)))
        self._count = len(prompts)
        self._tokens = tuple(tokens)
        self._frequency_penalty = frequency_penalty
        self._texts_only = texts_only
        self._advance = advance

    @property
    def left(self) -> int:
        """Prompts that nobody has taken."""
        return len(self._waiting)

    def asked(self, turn: int = 0) -> list[ServedAnswer]:
        """All answers of one turn in the order of the prompts."""
        return [self.answers[position][turn] for position in range(self._count)]

    def work_off(
        self,
        server: RunningServer,
        *,
        at_once: int = AT_ONCE,
        timeout_s: float = LIMIT_S,
        slot: int | None = None,
    ) -> None:
        """Ask one server until nothing is left.

        Args:
            at_once: requests in flight.
            timeout_s: of an answer, unless the server computes (`timeouts.py`).
            slot: of a server of ours, that shall answer these prompts one after the other: what
                they begin with stays read in it, whatever the other slots are asked. None: any.

        Raises:
            TwinError: the server has ended or refuses, or reports no token ids (llama.cpp and vLLM
                do).
        """
        import httpx

        headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        with (
            httpx.Client(headers=headers, trust_env=False) as client,
            ThreadPoolExecutor(at_once) as pool,
        ):
            patience = StallPolicy(server, limit_s=timeout_s)
            where = {} if slot is None or server.pid is None else {"id_slot": slot}
            work = [
                pool.submit(self._work, server, client, patience, where) for _ in range(at_once)
            ]
            for done in work:
                done.result()

    def _work(
        self,
        server: RunningServer,
        client: httpx.Client,
        patience: StallPolicy,
        where: Mapping[str, int],
    ) -> None:
        while True:
            try:
                position, prompt = self._waiting.popleft()
            except IndexError:  # another one took the last
                return
            try:
                answers: list[ServedAnswer] = []
                for tokens in self._tokens:
                    body = _body(server, prompt, max_tokens=tokens, texts_only=self._texts_only)
                    body |= where
                    if self._frequency_penalty:
                        body["frequency_penalty"] = self._frequency_penalty
                    answer = _ask(client, server, body, patience, texts_only=self._texts_only)
                    answers.append(answer)
                    self._advance(1)
            except BaseException:
                self._waiting.clear()  # no use in asking the rest
                raise
            self.answers[position] = answers


def ask(
    server: RunningServer,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int,
    at_once: int = AT_ONCE,
    frequency_penalty: float = 0.0,
    advance: Callable[[int], object] = lambda _answers: None,
    timeout_s: float = LIMIT_S,
) -> list[ServedAnswer]:
    """Ask every prompt once, greedily. For the arguments and errors see `PromptQueue`."""
    pile = PromptQueue(
        prompts, tokens=[max_tokens], frequency_penalty=frequency_penalty, advance=advance
    )
    pile.work_off(server, at_once=at_once, timeout_s=timeout_s)
    return pile.asked()


def ask_several(
    serve: Serve,
    prompts: Sequence[Prompt],
    *,
    servers: int,
    max_tokens: int,
    frequency_penalty: float = 0.0,
    texts_only: bool = False,
    advance: Callable[[int], object] = lambda _answers: None,
) -> list[ServedAnswer]:
    """As `ask`, of servers that run for that long (`serve_for`)."""
    pile = PromptQueue(
        prompts,
        tokens=[max_tokens],
        frequency_penalty=frequency_penalty,
        texts_only=texts_only,
        advance=advance,
    )
    serve_for(pile, serve, servers=servers)
    return pile.asked()


def serve_for(pile: PromptQueue, serve: Serve, *, servers: int) -> None:
    """Work a pile off by servers of one model.

    Args:
        serve: starts one server of the model.
        servers: how many at the same time; each uses half of the cores.
    """

    def one(_turn: int) -> None:
        with serve() as server:
            pile.work_off(server)

    count = max(1, min(servers, pile.left))
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(one, range(count)))


def _body(
    server: RunningServer, prompt: Prompt, *, max_tokens: int, texts_only: bool
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": server.alias,
        "messages": list(prompt),
        "max_tokens": max_tokens,
        "temperature": 0.0,
    }
    if texts_only:
        return body
    body |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
    if server.pid is None:  # not ours: vLLM gives ids only when asked
        body["return_tokens_as_token_ids"] = True
    return body


def _ask(
    client: httpx.Client,
    server: RunningServer,
    body: Mapping[str, Any],
    patience: StallPolicy,
    *,
    texts_only: bool,
) -> ServedAnswer:
    import httpx

    try:
        answer = patience.post(client, body)
        choice = answer.json()["choices"][0]
        if texts_only:
            text = choice["message"]["content"] or ""
            return ServedAnswer(text, (), (), answer.elapsed.total_seconds())
        # an answer that ends at once has no tokens, and llama.cpp then leaves `logprobs` out
        content = (choice.get("logprobs") or {}).get("content") or []
        if choice["message"]["content"] and not content:
            raise KeyError("logprobs")
        return ServedAnswer(
            text=choice["message"]["content"] or "",
            tokens=tuple(_token_id(entry) for entry in content),
            log_probabilities=tuple(
                {_token_id(other): other["logprob"] for other in entry["top_logprobs"]}
                for entry in content
            ),
            seconds=answer.elapsed.total_seconds(),  # of the try that succeeded
            in_step=_in_step(content, answer.json().get("usage") or {}),
        )
    except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
        raise TwinError(
            f"ask {server.alias} at {server.url} for log-probabilities",
            found=f"{type(error).__name__}: {error}",
            next_step="use llama.cpp's server or vLLM, which report token ids, and read its log",
        ) from error


def _in_step(content: Sequence[Mapping[str, Any]], usage: Mapping[str, Any]) -> int | None:
    """How many entries from the first are the tokens of their places; None: all.

    llama.cpp holds back a token that ends within a character and reports only the one that
    completes it: from there on an entry is no longer the answer's token of its place.
    """
    if int(usage.get("completion_tokens") or 0) <= len(content):
        return None
    whole = (place for place, entry in enumerate(content) if not str(entry["token"]).isascii())
    return next(whole, None)


def _token_id(entry: Mapping[str, Any]) -> int:
    """llama.cpp: an `id` beside the text; vLLM: the text is `token_id:<id>`."""
    if "id" in entry:
        return int(entry["id"])
    return int(str(entry["token"]).removeprefix("token_id:"))
