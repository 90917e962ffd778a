"""Check how a model's chat template renders turns, and adapt the template where necessary.

Scope: testing a template (a system turn, an answer after its prompt, a conversation), finding
the token that ends an answer, and adapting the template. An adapted template puts a rejected
system turn before the question, disables thinking, and begins an answer directly after its prompt.
Out of scope: the prompt's wording (`prompt/templates.py`), samples (`checkpoints/samples`).

The adaptations are Jinja code before or after the model's own template. Training, the reference
model and llama.cpp therefore read one file, and prompts are built in one place.
Templates: https://huggingface.co/docs/transformers/chat_templating
"""
# pyright: strict

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twin_resources.errors import TwinError

PROBE_SYSTEM = "Zzsystem speaks."
PROBE_QUESTION = "Zzquestion asked?"
PROBE_ANSWER = "Zzanswer given."
SYSTEM_BEFORE_QUESTION = (
    "{%- if messages and messages[0]['role'] == 'system' -%}"
    "{%- if messages | length > 1 -%}"
    "{%- set messages = [{'role': 'user', 'content': messages[0]['content'] + '\\n\\n' "
    "+ messages[1]['content']}] + messages[2:] -%}"
    "{%- else -%}"
    "{%- set messages = [{'role': 'user', 'content': messages[0]['content']}] -%}"
    "{%- endif -%}{%- endif -%}"
)
NO_THINKING = "{%- set enable_thinking = false -%}"
_THINKING_SWITCH = re.compile(r"\benable_thinking\b")


@dataclass(frozen=True)
class AdaptedTemplate:
    """A tested template.

    Attributes:
        template: the template for training and serving; the model's own if no change was needed.
        changes: a description of each change.
        end_of_turn: text of the token that ends an answer.
    """

    template: str
    changes: tuple[str, ...]
    end_of_turn: str


def adapt_chat_template(tokenizer: Any) -> AdaptedTemplate:
    """Test a loaded tokenizer's template and adapt it to the project's turns.

    Raises:
        TwinError: the tokenizer has no template, or the template rejects an ordinary conversation,
            omits a turn, does not render an answer directly after its prompt, or does not end it
            with a control token.
    """
    original_template = tokenizer.chat_template
    if isinstance(original_template, dict):  # several templates, by purpose
        original_template = original_template.get("default")  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType]
    if not isinstance(original_template, str) or not original_template:
        raise _template_error(
            "no chat template", "specify the instruct or chat variant of this model"
        )
    changes: list[str] = []
    template = original_template
    if _THINKING_SWITCH.search(original_template):
        template, changes = NO_THINKING + template, ["thinking is switched off"]
    if not _can_render_system_turn(tokenizer, template):
        template = SYSTEM_BEFORE_QUESTION + template
        changes.append("the template rejects a system turn, so its text is put before the question")
    prefix = _find_answer_prefix(tokenizer, template)
    if prefix.strip():  # a space belongs to the answer's first token
        template += "{%- if add_generation_prompt -%}{{- " + repr(prefix) + " -}}{%- endif -%}"
        changes.append(f"an answer begins after {prefix!r}")
    _require_conversation(tokenizer, template)
    return AdaptedTemplate(template, tuple(changes), _find_end_of_turn(tokenizer, template))


def find_end_tokens(folder: Path, tokenizer: Any, template: AdaptedTemplate) -> tuple[str, ...]:
    """Return the texts of all tokens that must end an answer.

    They come from the template, the tokenizer and `generation_config.json`.
    """
    path = folder / "generation_config.json"
    stored_ids: Any = []
    if path.is_file():
        stored_ids = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") or []
    ids = cast("list[int]", stored_ids if isinstance(stored_ids, list) else [stored_ids])
    texts: list[str] = [str(text) for text in tokenizer.convert_ids_to_tokens(ids)]
    tokenizer_end = [str(tokenizer.eos_token)] if tokenizer.eos_token else []
    return tuple(dict.fromkeys([template.end_of_turn, *tokenizer_end, *texts]))


def _render(tokenizer: Any, template: str, *roles: str) -> str:
    """Render a conversation as text; after a question, add the template's generation prompt."""
    texts = {"system": PROBE_SYSTEM, "user": PROBE_QUESTION, "assistant": PROBE_ANSWER}
    messages = [{"role": role, "content": texts[role]} for role in roles]
    return tokenizer.apply_chat_template(
        messages,
        chat_template=template,
        tokenize=False,
        add_generation_prompt=roles[-1] != "assistant",
    )


def _can_render_system_turn(tokenizer: Any, template: str) -> bool:
    """Return whether a system turn is rendered; a template may reject or omit it."""
    from jinja2 import TemplateError

    try:
        text = _render(tokenizer, template, "system", "user")
    except TemplateError:
        return False
    return PROBE_SYSTEM in text and PROBE_QUESTION in text


def _find_answer_prefix(tokenizer: Any, template: str) -> str:
    """Return the text between a prompt and its answer, such as a channel or an empty thought.

    Raises:
        TwinError: the rendered conversation does not begin with its prompt.
    """
    prompt = _render(tokenizer, template, "system", "user")
    conversation = _render(tokenizer, template, "system", "user", "assistant")
    if not conversation.startswith(prompt) or PROBE_ANSWER not in conversation[len(prompt) :]:
        raise _template_error(
            f"an answer that does not follow its prompt: {prompt[-60:]!r} against "
            f"{conversation[len(prompt) - 60 :][:120]!r}"
        )
    return conversation[len(prompt) :].partition(PROBE_ANSWER)[0]


def _require_conversation(tokenizer: Any, template: str) -> None:
    from jinja2 import TemplateError

    roles = ("system", "user", "assistant", "user")
    try:
        text = _render(tokenizer, template, *roles)
    except TemplateError as error:
        raise _template_error(f"a conversation with two questions is rejected: {error}") from error
    for turn, expected_count in ((PROBE_SYSTEM, 1), (PROBE_QUESTION, 2), (PROBE_ANSWER, 1)):
        if (count := text.count(turn)) != expected_count:
            raise _template_error(f"{turn!r} is rendered {count} times instead of {expected_count}")


def _find_end_of_turn(tokenizer: Any, template: str) -> str:
    conversation = _render(tokenizer, template, "system", "user", "assistant")
    tail = conversation.rpartition(PROBE_ANSWER)[2].lstrip()
    control_tokens: set[str] = {str(token) for token in tokenizer.get_added_vocab()}
    candidates = [token for token in control_tokens if token and tail.startswith(token)]
    if not candidates:
        raise _template_error(f"{tail[:40]!r} instead of a control token after an answer")
    return max(candidates, key=len)


def _template_error(found: str, next_step: str = "") -> TwinError:
    return TwinError(
        "test the chat template",
        found=found,
        next_step=next_step
        or "put a suitable chat_template.jinja next to the weights, and specify that folder",
    )
