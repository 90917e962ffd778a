"""Read the body of a chat request: an allow-list of keys, and the reader's question.

Scope: the keys that a client may send, their types and bounds, and the split of a conversation
into question, history and search text.
Out of scope: accepted keys without effect (`ignored_parameters.py`), whether the author exists or
this key may access it (`routing/model_names.py`, `keys.py`).

An allow-list is needed because LiteLLM forwards every unknown key to the model server. A client's
`lora` or `extra_body` would select another author's adapter, and an `api_base` a different machine.
Keys: https://platform.openai.com/docs/api-reference/chat/create
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from twin_resources.access.refusals import RefusedError, bad_request
from twin_resources.gateway.request.attached_text import extract_question
from twin_resources.gateway.request.ignored_parameters import IGNORED_KEYS, read_ignored_parameters
from twin_resources.gateway.request.prompt_classes import classify_question
from twin_resources.gateway.request.response_format import read_response_format
from twin_resources.models.retrieval.page_ranking import Page
from twin_resources.registry.route_names import DRAFT, TASK
from twin_resources.untrusted_json import parse_untrusted_json

ALLOWED_KEYS = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "response_format",
    }
)
CHAT_PATH, COMPLETIONS_PATH, RESPONSES_PATH = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
)
API_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        CHAT_PATH: ALLOWED_KEYS,
        "/chat/completions": ALLOWED_KEYS,
        COMPLETIONS_PATH: ALLOWED_KEYS - {"messages", "response_format"} | {"prompt"},
        RESPONSES_PATH: frozenset(
            {
                *("model", "input", "instructions", "previous_response_id", "store", "stream"),
                *("stream_options", "temperature", "top_p", "max_output_tokens", "text"),
            }
        ),
    }
)
"""The keys of each API's body that LiteLLM receives."""
ADMITTED_KEY = "twin_admitted"
"""Key of the values of the ignored parameters in a chat request, which no client can send."""
SAMPLING_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "temperature": (0.0, 2.0),
        "top_p": (0.0, 1.0),
        "presence_penalty": (-2.0, 2.0),
        "frequency_penalty": (-2.0, 2.0),
    }
)
MAX_BODY_BYTES = 256 * 1024
# The question and the turn before it. With two turns before it, fewer follow-ups retrieved their
# answer.
SEARCH_TURN_COUNT = 2
# A turn that may name a subject: a question, three words, or a script without spaces between words.
_MAY_NAME_SUBJECT = re.compile(r"[?\uff1f\u061f\u2e80-\ufaff]|\S\s+\S+\s+\S")
MAX_SEARCH_CHARACTERS = 1000
MAX_QUESTION_CHARACTERS = 6000
_OMISSION = "\n…\n"
MAX_REPEATED_CHARACTERS = 40  # limit on a client's value that a response repeats
CONTINUED_ANSWER = "the unfinished answer"
"""Entry of `twin.ignored` for a final assistant message that the client wants continued. The
gateway answers the question from the start."""
MAX_ANSWER_TOKENS = 4096
# llama.cpp's seed has 32 bits; a larger number reached LiteLLM as a float.
MAX_SEED = 2**32 - 1
NO_SEED = -1  # llama.cpp's value for no seed, which some programs send

MODEL_NAME = re.compile(
    r"twin/(?P<author>[a-z0-9][a-z0-9-]*)(?:@(?P<alias>stable|canary|base|paid|voice|task))?"
)


@dataclass(frozen=True)
class ChatRequest:
    """One question to one author's twin.

    Attributes:
        model: the requested name, `twin/<author>` or `twin/<author>@<alias>`.
        author: slug.
        alias: `stable`, `canary`, `base`, `paid`, `voice` (a draft), or empty.
        question: the last message, stripped.
        history: earlier turns, oldest first, as `{"role", "content"}`; `prompt_length.py` later
            chooses those that fit.
        search_text: the question, then the reader's turns before it.
        stream: whether to answer as server-sent events.
        sampling: the client's sampling parameters.
        response_format: the client's JSON format, with or without a schema, or None for text.
        system: the system and developer messages, in order, separated by an empty line.
        user: the reader that the client names, or empty.
        ignored: names of the client's parameters without effect on any model.
        is_batch: whether the question comes from a batch and not from a reader
            (`ignored_parameters.BATCH_METADATA_KEY`).
        is_task: whether a program sent the request for its own use (`twin/<author>@task`).
        page: the page on which the reader asks, or None.
    """

    model: str
    author: str
    alias: str
    question: str
    history: tuple[Mapping[str, str], ...]
    search_text: str
    stream: bool
    sampling: Mapping[str, Any]
    response_format: Mapping[str, Any] | None = None
    system: str = ""
    user: str = ""
    ignored: tuple[str, ...] = ()
    is_batch: bool = False
    is_task: bool = False
    page: Page | None = None

    @property
    def search_texts(self) -> tuple[str, ...]:
        """The search texts: the question alone, and the question with the turns before it.

        A conversation can change its subject, and a follow-up may not name one.
        """
        return tuple(dict.fromkeys((_message_search_text(self.question), self.search_text)))

    @property
    def earlier_answers(self) -> tuple[str, ...]:
        """The earlier answers of the conversation, oldest first, as the client sent them."""
        return tuple(turn["content"] for turn in self.history if turn["role"] == "assistant")

    @property
    def has_named_version(self) -> bool:
        """Whether the client names the version; otherwise the policy chooses."""
        return self.alias not in {"", DRAFT}

    @property
    def prompt_class(self) -> str:
        """The class of the question, see `prompt_classes.py`."""
        return classify_question(self.question, is_structured=self.response_format is not None)


def decode_object(raw: bytes) -> dict[str, Any]:
    """Decode the JSON object of a body.

    Raises:
        RefusedError: 413 if the body is too large, 400 if it is not a JSON object.
    """
    if len(raw) > MAX_BODY_BYTES:
        raise body_too_large_refusal(len(raw))
    try:
        document = parse_untrusted_json(raw)
    except ValueError as error:
        raise bad_request(
            "", found=f"invalid JSON ({error})", next_step="send a JSON object in UTF-8"
        ) from error
    if not isinstance(document, dict):
        raise bad_request(
            "", found=f"a JSON {type(document).__name__}", next_step="send a JSON object"
        )
    return cast("dict[str, Any]", document)


def admit_body(
    body: Mapping[str, Any], path: str = CHAT_PATH
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check a decoded body against the allow-list of its API.

    Returns:
        The part that LiteLLM may receive, and the values of the other keys.

    Raises:
        RefusedError: 400 for a key that is not on the list, a value for an unsupported feature, or
            a prompt that is not a single text.
    """
    allowed_keys = API_KEYS[path]
    unknown_keys = sorted(
        name for name in set(body) - allowed_keys - IGNORED_KEYS if body[name] is not None
    )
    if unknown_keys:
        raise bad_request(
            unknown_keys[0],
            found=f"unknown key{'s' if len(unknown_keys) > 1 else ''}: "
            + ", ".join(map(repr, unknown_keys)),
            next_step=f"send only these keys: {', '.join(sorted(allowed_keys | IGNORED_KEYS))}",
            code="key_not_allowed",
        )
    prompt: object = body.get("prompt")
    prompts = cast("list[object]", prompt) if isinstance(prompt, list) else [prompt]
    if path == COMPLETIONS_PATH and not (len(prompts) == 1 and isinstance(prompts[0], str)):
        # LiteLLM would take several for one conversation, and fails with 500 on token ids.
        raise bad_request(
            "prompt", found="a prompt that is not a single text", next_step="send one text"
        )
    admitted = read_ignored_parameters(body)
    # LiteLLM refuses a null where it expects a number.
    fields = {
        name: value for name, value in body.items() if name in allowed_keys and value is not None
    }
    return fields, admitted


def read_question(body: Mapping[str, Any]) -> ChatRequest:
    """Read a chat request in LiteLLM's form, with the admitted values under `ADMITTED_KEY`.

    Raises:
        RefusedError: 404 if the model is not a twin, 400 if messages or parameters are invalid.
    """
    match = match_model_name(body.get("model"))
    conversation = _read_messages(body.get("messages"))
    turns = conversation.turns
    sampling, limit_notes = _read_sampling(body)
    admitted_fields = cast("dict[str, Any]", body.get(ADMITTED_KEY) or {})
    question = turns[-1]["content"]
    stream = _read_flag(body, "stream")
    return ChatRequest(
        model=match.string.removesuffix(f"@{TASK}"),
        author=match["author"],
        alias="" if match["alias"] == TASK else match["alias"] or "",
        question=question,
        history=tuple(turn for turn in turns[:-1] if turn["content"]),
        search_text=_conversation_search_text(turns),
        stream=stream,
        sampling=sampling,
        response_format=read_response_format(body.get("response_format")),
        system=conversation.system,
        user=str(admitted_fields.get("user", "")),
        ignored=(*admitted_fields.get("ignored", ()), *conversation.ignored, *limit_notes),
        is_batch=bool(admitted_fields.get("batch")),
        is_task=match["alias"] == TASK,
        page=Page(*admitted_fields["page"]) if "page" in admitted_fields else None,
    )


def match_model_name(model: object) -> re.Match[str]:
    """Return the match of a twin's name. LiteLLM also knows the names of the model servers.

    Raises:
        RefusedError: 404 if the model is not a twin.
    """
    match = MODEL_NAME.fullmatch(model) if isinstance(model, str) else None
    if match is None:
        raise RefusedError(
            404,
            "model_not_found",
            tried="find the model",
            found=f"{model!r}, which is not the name of a twin",
            next_step="use twin/<author>; GET /v1/models lists the names",
            param="model",
        )
    return match


def body_too_large_refusal(size: int) -> RefusedError:
    """Return the refusal of a body of at least `size` bytes."""
    return RefusedError(
        413,
        "body_too_large",
        tried="read the request",
        found=f"{size:,} bytes or more",
        next_step=f"send at most {MAX_BODY_BYTES:,} bytes; shorten the conversation",
    )


def _read_flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise bad_request(name, found=f"{name} = {value!r}", next_step="send true or false")


@dataclass(frozen=True)
class _Conversation:
    """The turns of reader and twin, the system messages, and names of ignored parts."""

    turns: list[dict[str, str]]
    system: str
    ignored: tuple[str, ...]


def _read_messages(value: object) -> _Conversation:
    """Read a conversation.

    Pictures, audio and files are refused only in the question. A reader cannot change the earlier
    turns, so their text is kept and their other parts are listed in `ignored`.
    """
    if not isinstance(value, list) or not value:
        raise bad_request(
            "messages", found="no messages", next_step="send at least one user message"
        )
    turns: list[dict[str, str]] = []
    system: list[str] = []
    ignored_parts: dict[str, None] = {}
    messages = cast("list[object]", value)
    question_position = max(
        (index for index, turn in enumerate(messages) if _read_role(turn) == "user"), default=-1
    )
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            raise bad_request(
                "messages",
                found=f"message {position} is not an object",
                next_step="send each message as an object with a role and content",
            )
        fields = cast("dict[str, Any]", message)
        role = _read_role(fields)
        if role in {"tool", "function"}:
            ignored_parts[f"{role} messages"] = None
            continue
        if role not in {"user", "assistant", "system", "developer"}:
            raise bad_request(
                "messages",
                found=f"message {position} has the role {role!r}",
                next_step="send user, assistant, system and developer messages",
            )
        content, other_types = _read_content(fields.get("content"), position)
        if other_types and position == question_position:
            raise bad_request(
                "messages",
                found=f"message {position} contains more than text ({', '.join(other_types)})",
                next_step="send text; a twin reads no images, audio or files",
            )
        ignored_parts |= dict.fromkeys(other_types)
        if role in {"system", "developer"}:
            system.append(content)
        elif role == "assistant" and position > question_position:
            ignored_parts |= {CONTINUED_ANSWER: None} if content else {}
        else:
            turns.append({"role": str(role), "content": content})
    if not turns or turns[-1]["role"] != "user" or not turns[-1]["content"]:
        raise bad_request(
            "messages", found="no question", next_step="send a user message with text"
        )
    excess = len(turns[-1]["content"]) - MAX_QUESTION_CHARACTERS
    if excess > 0:
        ignored_parts[f"{excess:,} characters of the question"] = None
        turns[-1]["content"] = _truncate_middle(turns[-1]["content"])
    return _Conversation(turns, "\n\n".join(text for text in system if text), tuple(ignored_parts))


def _read_role(message: object) -> object:
    return cast("dict[str, Any]", message).get("role") if isinstance(message, dict) else None


def _read_content(content: object, position: int) -> tuple[str, list[str]]:
    """Return the text of a message, and the types of its other parts."""
    if content is None:
        return "", []
    if isinstance(content, str):
        return content.strip(), []
    texts: list[str] = []
    other_types: list[str] = []
    for part in cast("list[object]", content) if isinstance(content, list) else [content]:
        fields = cast("dict[str, Any]", part) if isinstance(part, dict) else {}
        part_type = fields.get("type")
        # A refusal is an answer of a different model, so it counts as text.
        text = fields.get("refusal") if part_type == "refusal" else fields.get("text")
        if part_type in {"text", "refusal"} and isinstance(text, str):
            texts.append(text)
        elif isinstance(part_type, str) and part_type not in {"text", "refusal"}:
            other_types.append(part_type[:MAX_REPEATED_CHARACTERS])
        else:
            raise bad_request(
                "messages",
                found=f"the content of message {position} has an unknown format",
                next_step="send text, or a list of parts with their types",
            )
    return "\n".join(texts).strip(), other_types


def _conversation_search_text(turns: Sequence[Mapping[str, str]]) -> str:
    """Return the search text, newest turn first, because an embedder truncates long texts."""
    *earlier_turns, question = [turn["content"] for turn in turns if turn["role"] == "user"]
    # A second "Go on." refers to the question before both.
    subject_turns = [turn for turn in earlier_turns if _MAY_NAME_SUBJECT.search(turn)]
    newest_turns = [question, *(subject_turns or earlier_turns)[:-SEARCH_TURN_COUNT:-1]]
    return "\n".join(map(_message_search_text, newest_turns))[:MAX_SEARCH_CHARACTERS]


def _message_search_text(message: str) -> str:
    question = extract_question(_truncate_middle(message), max_characters=MAX_SEARCH_CHARACTERS)
    return question[:MAX_SEARCH_CHARACTERS]


def _truncate_middle(message: str) -> str:
    """Return a message, or only the start and end of a long one, where the question usually is."""
    half = MAX_QUESTION_CHARACTERS // 2
    is_short = len(message) <= 2 * half + len(_OMISSION)
    return message if is_short else f"{message[:half]}{_OMISSION}{message[-half:]}"


def _read_sampling(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the sampling parameters, and notes on those above a limit."""
    sampling: dict[str, Any] = {}
    limit_notes: list[str] = []
    for name, (low, high) in SAMPLING_BOUNDS.items():
        value = body.get(name)
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise bad_request(name, found=f"{name} = {value!r}", next_step=f"send {low} to {high}")
        sampling[name] = value
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise bad_request(
                name, found=f"{name} = {value!r}"[:80], next_step=f"send 1 to {MAX_ANSWER_TOKENS}"
            )
        if value > MAX_ANSWER_TOKENS:
            limit_notes.append(f"{name} above {MAX_ANSWER_TOKENS:,}")
        sampling["max_tokens"] = min(value, MAX_ANSWER_TOKENS)
    seed: object = body.get("seed")
    if seed is not None and (isinstance(seed, bool) or seed != NO_SEED):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise bad_request(
                "seed",
                found=f"seed = {seed!r}"[:80],
                next_step=f"send a whole number from 0 to {MAX_SEED}",
            )
        sampling["seed"] = seed
    if body.get("stop") is not None:
        stop: object = body["stop"]
        stops = cast("list[object]", stop if isinstance(stop, list) else [stop])
        if not all(isinstance(text, str) and text for text in stops) or len(stops) > 4:
            raise bad_request(
                "stop", found=f"stop = {stop!r}"[:80], next_step="send up to four strings"
            )
        if stops:  # lm_eval sends an empty list
            sampling["stop"] = stops
    return sampling, tuple(limit_notes)
