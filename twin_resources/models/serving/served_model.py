"""Query the served model over the OpenAI API for answers with log-probabilities.

Scope: querying one running server, or several servers of the same model.
Out of scope: starting a server (`model_server.py`), timeouts (`timeouts.py`), judging the answers.
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
from twin_resources.models.serving.timeouts import ANSWER_TIMEOUT_S, StallPolicy
from twin_resources.prompt.control_marks import COMMON_MARKS

if TYPE_CHECKING:
    import httpx

TOP_LOGPROBS = 5
MAX_CONCURRENT_REQUESTS = 2  # this home's server answers two requests in parallel

StartServer = Callable[[], AbstractContextManager[RunningServer]]
Prompt = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class ServedAnswer:
    """One greedy answer.

    Attributes:
        text: the answer as a reader would see it.
        tokens: token ids of the answer.
        log_probabilities: the most probable ids at each token, with natural log-probabilities.
        seconds: time from the request to the end of the answer.
        aligned_token_count: number of leading tokens whose positions in the answer are certain;
            None if all positions are certain.
    """

    text: str
    tokens: tuple[int, ...]
    log_probabilities: tuple[Mapping[int, float], ...]
    seconds: float = 0.0
    aligned_token_count: int | None = None


class PromptQueue:
    """A queue of prompts from which the servers of one model take work.

    Attributes:
        answers: answers by prompt position, one for each item of `max_tokens`.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: Sequence[int],
        frequency_penalty: float = 0.0,
        texts_only: bool = False,
        sampling: Callable[[RunningServer], Mapping[str, Any]] = lambda _server: {},
        on_answer: Callable[[int], object] = lambda _answer_count: None,
    ) -> None:
        """Create a queue of all prompts.

        Args:
            prompts: messages of each prompt.
            max_tokens: maximum lengths of a prompt's answers. With several lengths, the prompt is
                sent several times in a row, so that the server finds it in its cache.
            frequency_penalty: penalty for the choice of tokens; it does not change their
                log-probabilities.
            texts_only: whether to omit log-probabilities, which some servers do not report.
            sampling: returns the sampling parameters that only some servers have.
            on_answer: callback that is called with 1 after each answer.
        """
        self.answers: dict[int, list[ServedAnswer]] = {}
        # The gateway escapes control marks, but dataset rows may predate that escaping.
        self._waiting = deque(enumerate(map(COMMON_MARKS.escape_messages, prompts)))
        self._prompt_count = len(prompts)
        self._max_tokens = tuple(max_tokens)
        self._frequency_penalty = frequency_penalty
        self._texts_only = texts_only
        self._sampling = sampling
        self._on_answer = on_answer

    @property
    def remaining_count(self) -> int:
        """Number of prompts in the queue."""
        return len(self._waiting)

    def answers_in_order(self, length_index: int = 0) -> list[ServedAnswer]:
        """Return the answers of one maximum length in prompt order.

        Args:
            length_index: index in `max_tokens`.
        """
        return [self.answers[position][length_index] for position in range(self._prompt_count)]

    def query_server(
        self,
        server: RunningServer,
        *,
        max_concurrent: int = MAX_CONCURRENT_REQUESTS,
        timeout_s: float = ANSWER_TIMEOUT_S,
        slot: int | None = None,
    ) -> None:
        """Query one server until the queue is empty.

        Args:
            max_concurrent: number of concurrent requests.
            timeout_s: time limit for an answer, extended while the server computes (`timeouts.py`).
            slot: slot of this home's server whose cache contains the prompts' prefix; None for any.

        Raises:
            TwinError: the server has exited, refuses a request, or does not report token ids.
                llama.cpp and vLLM report them.
        """
        import httpx

        with (
            httpx.Client(headers=server.headers, trust_env=False) as client,
            ThreadPoolExecutor(max_concurrent) as pool,
        ):
            policy = StallPolicy(server, timeout_s=timeout_s)
            slot_field = {} if slot is None or server.pid is None else {"id_slot": slot}
            workers = [
                pool.submit(self._run_worker, server, client, policy, slot_field)
                for _ in range(max_concurrent)
            ]
            for worker in workers:
                worker.result()

    def _run_worker(
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
                for length in self._max_tokens:
                    body = _build_request_body(
                        server, prompt, max_tokens=length, texts_only=self._texts_only
                    )
                    body |= {**slot_field, **self._sampling(server)}
                    if self._frequency_penalty:
                        body["frequency_penalty"] = self._frequency_penalty
                    answer = _request_answer(
                        client, server, body, policy, texts_only=self._texts_only
                    )
                    answers.append(answer)
                    self._on_answer(1)
            except BaseException:
                self._waiting.clear()  # this also stops the other workers
                raise
            self.answers[position] = answers


def query_temporary_servers(
    serve: StartServer,
    prompts: Sequence[Prompt],
    *,
    max_servers: int,
    max_tokens: int,
    frequency_penalty: float = 0.0,
    texts_only: bool = False,
) -> list[ServedAnswer]:
    """Query temporary servers once for each prompt, with greedy decoding; see `PromptQueue`."""
    queue = PromptQueue(
        prompts,
        max_tokens=[max_tokens],
        frequency_penalty=frequency_penalty,
        texts_only=texts_only,
    )
    process_queue(queue, serve, max_servers=max_servers)
    return queue.answers_in_order()


def process_queue(queue: PromptQueue, serve: StartServer, *, max_servers: int) -> None:
    """Answer a queue of prompts with several servers of one model.

    Args:
        serve: function that starts one server of the model.
        max_servers: maximum number of concurrent servers; each uses half of the cores.
    """

    def run_server(_number: int) -> None:
        with serve() as server:
            queue.query_server(server)

    server_count = max(1, min(max_servers, queue.remaining_count))
    with ThreadPoolExecutor(server_count) as pool:
        list(pool.map(run_server, range(server_count)))


def _build_request_body(
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
    body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
    if server.pid is None:  # vLLM returns ids only on request
        body["return_tokens_as_token_ids"] = True
    return body


def _request_answer(
    client: httpx.Client,
    server: RunningServer,
    body: Mapping[str, Any],
    policy: StallPolicy,
    *,
    texts_only: bool,
) -> ServedAnswer:
    import httpx

    try:
        response = policy.post(client, body)
        choice = response.json()["choices"][0]
        if texts_only:
            text = choice["message"]["content"] or ""
            return ServedAnswer(text, (), (), response.elapsed.total_seconds())
        # llama.cpp omits `logprobs` from an answer without tokens.
        token_entries = (choice.get("logprobs") or {}).get("content") or []
        if choice["message"]["content"] and not token_entries:
            raise KeyError("logprobs")
        return ServedAnswer(
            text=choice["message"]["content"] or "",
            tokens=tuple(_token_id(entry) for entry in token_entries),
            log_probabilities=tuple(
                {_token_id(candidate): candidate["logprob"] for candidate in entry["top_logprobs"]}
                for entry in token_entries
            ),
            seconds=response.elapsed.total_seconds(),
            aligned_token_count=_count_aligned_tokens(
                token_entries, response.json().get("usage") or {}
            ),
        )
    except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
        raise TwinError(
            f"ask {server.alias} at {server.url} for log-probabilities",
            found=f"{type(error).__name__}: {error}",
            next_step="use a server that reports token ids (llama.cpp or vLLM), and read its log",
        ) from error


def _count_aligned_tokens(
    content: Sequence[Mapping[str, Any]], usage: Mapping[str, Any]
) -> int | None:
    """Count the leading entries whose positions match the answer's tokens; None if all match.

    llama.cpp omits a token that ends within a character and reports only the token that completes
    the character. From that token on, the entries no longer match the answer's positions.
    """
    if int(usage.get("completion_tokens") or 0) <= len(content):
        return None
    misaligned_positions = (
        index for index, entry in enumerate(content) if not str(entry["token"]).isascii()
    )
    return next(misaligned_positions, None)


def _token_id(entry: Mapping[str, Any]) -> int:
    """Return a token's id: `id` from llama.cpp, or the text `token_id:<id>` from vLLM."""
    if "id" in entry:
        return int(entry["id"])
    return int(str(entry["token"]).removeprefix("token_id:"))
