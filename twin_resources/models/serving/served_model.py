"""Query the served model over the OpenAI interface: answers with their log-probabilities.

Scope: asking a running server, or several that serve the same model. Out of scope: starting a
server (`model_server.py`), timeouts (`timeouts.py`), judging the answers.
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
AT_ONCE = 2  # requests in flight at one server, as many as this home's server answers in parallel

Serve = Callable[[], AbstractContextManager[RunningServer]]
Prompt = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class ServedAnswer:
    """One greedy answer.

    Attributes:
        text: the answer as a reader would get it.
        tokens: ids of the answer's tokens.
        log_probabilities: for each token the most probable ids with their natural log-probability.
        seconds: from the request to the end of the answer.
        in_step: number of leading tokens whose positions in the answer are certain; None if all.
    """

    text: str
    tokens: tuple[int, ...]
    log_probabilities: tuple[Mapping[int, float], ...]
    seconds: float = 0.0
    in_step: int | None = None


class PromptQueue:
    """Prompts that servers of one model share: each takes the next one when it is free.

    Attributes:
        answers: answers by position of the prompt, one for each of `tokens`.
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
            prompts: messages of each prompt.
            tokens: maximum length of each answer; several ask a prompt that often in a row, so that
                a server's cache has it after the first request.
            frequency_penalty: applied to the choice of tokens, not to their log-probabilities.
            texts_only: omit log-probabilities, which not every server reports.
            advance: called with 1 after each answer.
        """
        self.answers: dict[int, list[ServedAnswer]] = {}
        # Escaped as in the gateway: a row of a dataset may be older than that escaping.
        self._waiting = deque(enumerate(map(FAMILIES.escaped_messages, prompts)))
        self._count = len(prompts)
        self._tokens = tuple(tokens)
        self._frequency_penalty = frequency_penalty
        self._texts_only = texts_only
        self._advance = advance

    @property
    def left(self) -> int:
        """Number of prompts that are still waiting."""
        return len(self._waiting)

    def asked(self, turn: int = 0) -> list[ServedAnswer]:
        """Return all answers of one turn in the order of the prompts."""
        return [self.answers[position][turn] for position in range(self._count)]

    def work_off(
        self,
        server: RunningServer,
        *,
        at_once: int = AT_ONCE,
        timeout_s: float = LIMIT_S,
        slot: int | None = None,
    ) -> None:
        """Ask one server until no prompt is left.

        Args:
            at_once: number of requests in flight.
            timeout_s: limit for an answer; longer while the server computes (`timeouts.py`).
            slot: slot of this home's server, whose cache keeps the prompts' prefix; None for any.

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
            policy = StallPolicy(server, limit_s=timeout_s)
            slot_field = {} if slot is None or server.pid is None else {"id_slot": slot}
            workers = [
                pool.submit(self._work, server, client, policy, slot_field) for _ in range(at_once)
            ]
            for worker in workers:
                worker.result()

    def _work(
        self,
        server: RunningServer,
        client: httpx.Client,
        policy: StallPolicy,
        slot_field: Mapping[str, int],
    ) -> None:
        while True:
            try:
                position, prompt = self._waiting.popleft()
            except IndexError:  # another worker took the last prompt
                return
            try:
                answers: list[ServedAnswer] = []
                for tokens in self._tokens:
                    body = _body(server, prompt, max_tokens=tokens, texts_only=self._texts_only)
                    body |= slot_field
                    if self._frequency_penalty:
                        body["frequency_penalty"] = self._frequency_penalty
                    answer = _ask(client, server, body, policy, texts_only=self._texts_only)
                    answers.append(answer)
                    self._advance(1)
            except BaseException:
                self._waiting.clear()  # the other workers stop as well
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
    queue = PromptQueue(
        prompts, tokens=[max_tokens], frequency_penalty=frequency_penalty, advance=advance
    )
    queue.work_off(server, at_once=at_once, timeout_s=timeout_s)
    return queue.asked()


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
    """Ask every prompt once, like `ask`, with servers that run meanwhile (`serve_for`)."""
    queue = PromptQueue(
        prompts,
        tokens=[max_tokens],
        frequency_penalty=frequency_penalty,
        texts_only=texts_only,
        advance=advance,
    )
    serve_for(queue, serve, servers=servers)
    return queue.asked()


def serve_for(prompts: PromptQueue, serve: Serve, *, servers: int) -> None:
    """Answer a queue of prompts with servers of one model.

    Args:
        serve: starts one server of the model.
        servers: maximum number of concurrent servers; each uses half of the cores.
    """

    def run_server(_number: int) -> None:
        with serve() as server:
            prompts.work_off(server)

    count = max(1, min(servers, prompts.left))
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run_server, range(count)))


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
    if server.pid is None:  # vLLM returns ids only on request
        body["return_tokens_as_token_ids"] = True
    return body


def _ask(
    client: httpx.Client,
    server: RunningServer,
    body: Mapping[str, Any],
    policy: StallPolicy,
    *,
    texts_only: bool,
) -> ServedAnswer:
    import httpx

    try:
        answer = policy.post(client, body)
        choice = answer.json()["choices"][0]
        if texts_only:
            text = choice["message"]["content"] or ""
            return ServedAnswer(text, (), (), answer.elapsed.total_seconds())
        # an answer without tokens has no `logprobs` in llama.cpp
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
            seconds=answer.elapsed.total_seconds(),  # of the successful request
            in_step=_in_step(content, answer.json().get("usage") or {}),
        )
    except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
        raise TwinError(
            f"ask {server.alias} at {server.url} for log-probabilities",
            found=f"{type(error).__name__}: {error}",
            next_step="use llama.cpp's server or vLLM, which report token ids, and read its log",
        ) from error


def _in_step(content: Sequence[Mapping[str, Any]], usage: Mapping[str, Any]) -> int | None:
    """Count the leading entries whose positions match the answer's tokens; None if all do.

    llama.cpp omits a token that ends within a character and reports only the token that completes
    the character. Entries from there on no longer match the answer's positions.
    """
    if int(usage.get("completion_tokens") or 0) <= len(content):
        return None
    whole = (place for place, entry in enumerate(content) if not str(entry["token"]).isascii())
    return next(whole, None)


def _token_id(entry: Mapping[str, Any]) -> int:
    """Read a token's id: llama.cpp reports `id`; vLLM's text is `token_id:<id>`."""
    if "id" in entry:
        return int(entry["id"])
    return int(str(entry["token"]).removeprefix("token_id:"))
