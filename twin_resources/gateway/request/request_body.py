"""Read the body of a question: its parameters, its conversation, and the question in it.

LiteLLM receives the conversation alone (`split_body`). It would use other keys itself: an
`api_base` names a different machine, and a `lora` another author's adapter. What a twin does not
read has no effect and is named in `twin.ignored`, since chat programs send many defaults. A value
that asks for another kind of answer (`n: 2`) is refused, because ignoring it would mislead.
Keys: https://platform.openai.com/docs/api-reference/chat/create
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from twin_resources.access.refusals import RefusedError, bad_request
from twin_resources.gateway.request.attached_text import extract_question
from twin_resources.gateway.request.prompt_classes import classify_question
from twin_resources.gateway.request.response_format import check_response_format
from twin_resources.models.retrieval.page_ranking import Page
from twin_resources.registry.route_names import DRAFT, TASK
from twin_resources.untrusted_json import parse_untrusted_json

CHAT_PATH, COMPLETIONS_PATH, RESPONSES_PATH = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
)
CONVERSATION_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        CHAT_PATH: ("messages",),
        "/chat/completions": ("messages",),
        COMPLETIONS_PATH: ("prompt",),
        RESPONSES_PATH: ("input", "instructions"),
    }
)
"""The keys of each API with the conversation."""
MAX_BODY_BYTES = 256 * 1024
# The question and the turn before it. With two turns before it, fewer follow-ups retrieved their
# answer.
SEARCH_TURN_COUNT = 2
# A turn that may name a subject: a question, three words, or a script without spaces between words.
_MAY_NAME_SUBJECT = re.compile(r"[?\uff1f\u061f\u2e80-\ufaff]|\S\s+\S+\s+\S")
MAX_SEARCH_CHARACTERS = 1000
MAX_QUESTION_CHARACTERS = 6000
_OMISSION = "\n…\n"
CONTINUED_ANSWER = "the unfinished answer"
"""Entry of `twin.ignored` for a final assistant message that the client wants continued. The
gateway answers the question from the start."""
MAX_ANSWER_TOKENS = 4096
# llama.cpp's seed has 32 bits; a larger number reached LiteLLM as a float.
MAX_SEED = 2**32 - 1
NO_SEED = -1  # llama.cpp's value for no seed, which some programs send
BATCH_METADATA_KEY = "twin.batch"
"""Entry of `metadata` with which `twin batch` marks a request that no reader sent."""
PAGE_METADATA_KEYS = ("twin.page", "twin.page_title")
"""Entries of `metadata` with the address and the title of the page on which a reader asks."""
MAX_METADATA_CHARACTERS = 512  # OpenAI's limit

MODEL_NAME = re.compile(
    r"twin/(?P<author>[a-z0-9][a-z0-9-]*)(?:@(?P<alias>stable|canary|base|paid|voice|task))?"
)
_NonEmptyText = Annotated[str, Field(min_length=1)]


class RequestParameters(BaseModel):
    """What a body says beside its conversation, on any API.

    The fields from `n` on accept only their defaults: a twin gives one answer as text, without log
    probabilities, and calls no tools.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=NO_SEED, le=MAX_SEED)
    stop: _NonEmptyText | Annotated[list[_NonEmptyText], Field(max_length=4)] | None = None
    max_tokens: int | None = Field(
        None,
        ge=1,
        validation_alias=AliasChoices("max_tokens", "max_completion_tokens", "max_output_tokens"),
    )
    response_format: Annotated[dict[str, Any], AfterValidator(check_response_format)] | None = None
    user: str = Field(
        "", max_length=200, validation_alias=AliasChoices("user", "safety_identifier")
    )
    metadata: dict[str, Any] = {}
    n: Literal[1] = 1
    best_of: Literal[1] = 1
    logprobs: Literal[False] = False
    top_logprobs: Literal[0] = 0
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] = {}
    modalities: list[Literal["text"]] = []
    tool_choice: Literal["auto", "none"] = "auto"
    function_call: Literal["auto", "none"] = "auto"
    conversation: None = None
    background: Literal[False] = False
    suffix: Literal[""] = ""
    echo: Literal[False] = False

    @property
    def sampling(self) -> dict[str, Any]:
        """The client's sampling parameters, with `max_tokens` up to the limit."""
        names = {"temperature", "top_p", "presence_penalty", "frequency_penalty"}
        values = self.model_dump(include=names, exclude_none=True)
        if self.seed not in {None, NO_SEED}:
            values["seed"] = self.seed
        if self.stop:  # lm_eval sends an empty list
            values["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop
        if self.max_tokens is not None:
            values["max_tokens"] = min(self.max_tokens, MAX_ANSWER_TOKENS)
        return values

    @property
    def ignored(self) -> list[str]:
        """The names of what has no effect."""
        names = [name for name, value in (self.model_extra or {}).items() if value]
        if self.metadata.keys() - {BATCH_METADATA_KEY, *PAGE_METADATA_KEYS}:
            names.append("metadata")
        if (self.max_tokens or 0) > MAX_ANSWER_TOKENS:
            names.append(f"max_tokens above {MAX_ANSWER_TOKENS:,}")
        return sorted(names)

    @property
    def is_batch(self) -> bool:
        """Whether the question belongs to a batch, which no reader sent."""
        return self.metadata.get(BATCH_METADATA_KEY) == "true"

    @property
    def page(self) -> Page | None:
        """The page on which the reader asks."""
        values = [
            str(self.metadata.get(name) or "")[:MAX_METADATA_CHARACTERS]
            for name in PAGE_METADATA_KEYS
        ]
        return Page(*values) if any(values) else None


class _Part(BaseModel):
    """A part of a message; a refusal is an answer of a different model, so it counts as text."""

    type: str = Field(max_length=40)
    text: str = ""
    refusal: str = ""


class _Message(BaseModel):
    role: Literal["user", "assistant", "system", "developer", "tool", "function"]
    content: str | list[_Part] | None = None

    @property
    def content_text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text or part.refusal for part in self.content).strip()
        return (self.content or "").strip()

    @property
    def other_types(self) -> list[str]:
        parts = self.content if isinstance(self.content, list) else []
        return [part.type for part in parts if part.type not in {"text", "refusal"}]


_MESSAGES = TypeAdapter(Annotated[list[_Message], Field(min_length=1)])


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
        is_batch: whether the question comes from a batch and not from a reader.
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
    """Decode the JSON object of a body, without its nulls.

    Raises:
        RefusedError: 413 if the body is too large, 400 if it is not a JSON object.
    """
    if len(raw) > MAX_BODY_BYTES:
        raise body_too_large_refusal(len(raw))
    try:
        document = parse_untrusted_json(raw)
    except ValueError as error:
        raise bad_request(f"Send a JSON object in UTF-8: {error}.") from error
    if not isinstance(document, dict):
        raise bad_request(f"Send a JSON object, not a {type(document).__name__}.")
    fields = cast("dict[str, Any]", document)
    return {name: value for name, value in fields.items() if value is not None}


def body_too_large_refusal(size: int) -> RefusedError:
    """Return the refusal of a body of at least `size` bytes."""
    message = f"Send at most {MAX_BODY_BYTES:,} bytes, not {size:,}: shorten the conversation."
    return RefusedError(413, "body_too_large", message)


def match_model_name(model: object) -> re.Match[str]:
    """Return the match of a twin's name. LiteLLM also knows the names of the model servers.

    Raises:
        RefusedError: 404 if the model is not a twin.
    """
    match = MODEL_NAME.fullmatch(model) if isinstance(model, str) else None
    if match is None:
        message = f"{model!r:.80} is no twin; GET /v1/models lists the names twin/<author>."
        raise RefusedError(404, "model_not_found", message, param="model")
    return match


def split_body(
    body: Mapping[str, Any], path: str = CHAT_PATH
) -> tuple[dict[str, Any], RequestParameters]:
    """Split a decoded body into what LiteLLM receives and what the twin reads.

    Raises:
        RefusedError: 400 for an invalid value, one that asks for what a twin does not give, or a
            prompt that is not a single text.
    """
    prompt: object = body.get("prompt")
    prompts = cast("list[object]", prompt) if isinstance(prompt, list) else [prompt]
    if path == COMPLETIONS_PATH and not (len(prompts) == 1 and isinstance(prompts[0], str)):
        # LiteLLM would take several for one conversation, and fails with 500 on token ids.
        raise bad_request("Send one text as prompt.", param="prompt")
    names = {"model", "stream", "stream_options", *CONVERSATION_KEYS[path]}
    forwarded = {name: value for name, value in body.items() if name in names}
    fields = {name: value for name, value in body.items() if name == "stream" or name not in names}
    if path == RESPONSES_PATH:
        for name in ("previous_response_id", "store"):  # for `recent_responses.py`
            if name in fields:
                forwarded[name] = fields.pop(name)
        text = fields.pop("text", None)
        text_format = cast("dict[str, Any]", text).get("format") if isinstance(text, dict) else None
        if isinstance(text_format, dict):  # its schema stands beside its type
            schema = dict(cast("dict[str, Any]", text_format))
            response_format = fields["response_format"] = {"type": schema.pop("type", None)}
            if schema:
                response_format["json_schema"] = schema
    try:
        return forwarded, RequestParameters.model_validate(fields)
    except ValidationError as error:
        raise _invalid_value_refusal(error) from error


def _invalid_value_refusal(error: ValidationError, name: str = "") -> RefusedError:
    first = error.errors()[0]
    name = name or str(first["loc"][0])
    place = "" if first["loc"][:1] == (name,) else f" at {'.'.join(map(str, first['loc']))}"
    reason = first["msg"].removeprefix("Value error, ")
    message = f"{name}{place} = {first['input']!r:.80} is not accepted: {reason}."
    if first["type"] in {"literal_error", "none_required", "too_long"}:
        message += (
            " A twin gives one answer as text, without log probabilities, and calls no tools; for "
            "an object that follows a schema, send response_format."
        )
    return bad_request(message, param=name)


def read_question(
    model: object, messages: object, parameters: RequestParameters | None = None
) -> ChatRequest:
    """Read a question from the messages that LiteLLM makes of any API's conversation.

    Pictures, audio and files are refused only in the question. A reader cannot change the earlier
    turns, so their text is kept and their other parts are listed in `ignored`.

    Raises:
        RefusedError: 404 if the model is not a twin, 400 if the messages are invalid.
    """
    match, parameters = match_model_name(model), parameters or RequestParameters.model_validate({})
    try:
        conversation = _MESSAGES.validate_python(messages)
    except ValidationError as error:
        raise _invalid_value_refusal(error, "messages") from error
    positions = [index for index, message in enumerate(conversation) if message.role == "user"]
    if not positions or not conversation[positions[-1]].content_text:
        raise bad_request("Send a user message with text.", param="messages")
    turns: list[dict[str, str]] = []
    system: list[str] = []
    ignored: dict[str, None] = {}
    for position, message in enumerate(conversation):
        text = message.content_text
        if message.role in {"tool", "function"}:
            ignored[f"{message.role} messages"] = None
            continue
        if message.other_types and position == positions[-1]:
            types = ", ".join(message.other_types)
            raise bad_request(
                f"A twin reads text, no images, audio or files; the question has {types}.",
                param="messages",
            )
        ignored |= dict.fromkeys(message.other_types)
        if message.role in {"system", "developer"}:
            system.append(text)
        elif position <= positions[-1]:
            turns.append({"role": message.role, "content": text})
        elif text:
            ignored[CONTINUED_ANSWER] = None
    question = turns[-1]["content"]
    excess = len(question) - MAX_QUESTION_CHARACTERS
    if excess > 0:
        ignored[f"{excess:,} characters of the question"] = None
        question = turns[-1]["content"] = _truncate_middle(question)
    return ChatRequest(
        model=match.string.removesuffix(f"@{TASK}"),
        author=match["author"],
        alias="" if match["alias"] == TASK else match["alias"] or "",
        question=question,
        history=tuple(turn for turn in turns[:-1] if turn["content"]),
        search_text=_conversation_search_text(turns),
        stream=parameters.stream,
        sampling=parameters.sampling,
        response_format=parameters.response_format,
        system="\n\n".join(filter(None, system)),
        user=parameters.user,
        ignored=(*parameters.ignored, *ignored),
        is_batch=parameters.is_batch,
        is_task=match["alias"] == TASK,
        page=parameters.page,
    )


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
