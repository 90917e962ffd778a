"""The page's side of the endpoint: streamed answers with their facts, and feedback on them.

Belongs here: calls of the gateway with the page's own key, and the facts as text to read.
Does not belong here: widgets (`page.py`), retrieval, routing, prompts (the gateway has them).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import httpx
    from openai import AsyncOpenAI

TIMEOUT_S = 180.0  # an 8B model on two cores takes minutes
Turn = Mapping[str, str]


@dataclass(frozen=True)
class Piece:
    """An answer as far as it has come.

    Attributes:
        text: all of it so far.
        facts: the answer's `twin` field; empty until the last piece.
    """

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Endpoint:
    """The gateway, asked with one key.

    Args:
        url: ends in `/v1`.
        key: of role `reader`.
    """

    def __init__(self, url: str, key: str) -> None:
        import httpx
        from openai import AsyncOpenAI

        self._root = url.removesuffix("/v1")
        self._http: httpx.AsyncClient = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S)
        self._openai: AsyncOpenAI = AsyncOpenAI(
            base_url=url, api_key=key, http_client=self._http, max_retries=1
        )
        self._headers = {"Authorization": f"Bearer {key}"}

    async def models(self) -> list[str]:
        """The names that may be asked now: `twin/<author>` and its aliases.

        Raises:
            TwinError: the gateway does not answer.
        """
        import openai

        try:
            return [model.id async for model in self._openai.models.list()]
        except openai.OpenAIError as error:
            raise _unwell("list the models", error) from error

    async def ask(self, model: str, turns: Sequence[Turn]) -> AsyncGenerator[Piece]:
        """Stream the answer to the last turn.

        Args:
            turns: `role` and `content`, oldest first.

        Raises:
            TwinError: the gateway refuses, or does not answer.
        """
        import openai

        text, facts = "", dict[str, Any]()
        messages: Any = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
        try:
            stream = await self._openai.chat.completions.create(
                model=model, messages=messages, stream=True
            )
            async for chunk in stream:
                facts = (chunk.model_extra or {}).get("twin") or facts
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                yield Piece(text)
        except openai.OpenAIError as error:
            raise _unwell(f"ask {model}", error) from error
        yield Piece(text.strip(), facts)

    async def give_feedback(self, trace_id: str, **opinion: str | float) -> None:
        """Vote or edit: `thumb="up"`, `edit="a better answer"`.

        Raises:
            TwinError: it was not taken.
        """
        import httpx

        try:
            answer = await self._http.post(
                f"{self._root}/twin/feedback",
                json={"trace_id": trace_id, **opinion},
                headers=self._headers,
            )
        except httpx.HTTPError as error:
            raise _unwell("send your feedback", error) from error
        if not answer.is_success:
            raise TwinError(
                "send your feedback", found=answer.text[:300], next_step="see gateway.log"
            )


def _unwell(tried: str, error: Exception) -> TwinError:
    body: Any = getattr(error, "body", None)
    said: dict[str, Any] = body if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    found = str(said.get("message") or error)
    return TwinError(tried, found=found, next_step="see `twin status` and gateway.log")


def authors_of(models: Sequence[str]) -> dict[str, list[str]]:
    """Author → what may be asked of them: "" (the policy decides), `stable`, `canary`, `base`…"""
    found: dict[str, list[str]] = {}
    for name in models:
        author, _, alias = name.removeprefix("twin/").partition("@")
        found.setdefault(author, []).append(alias)
    return {author: sorted(aliases) for author, aliases in sorted(found.items())}


def model_name(author: str, version: str) -> str:
    """`twin/<author>`, or its alias for a version of that name."""
    return f"twin/{author}@{version}" if version else f"twin/{author}"


def facts_as_markdown(facts: Mapping[str, Any]) -> str:
    """Sources, version, cost and what went wrong, for the column beside the answer."""
    sources: Sequence[Mapping[str, str]] = facts.get("sources") or ()
    lines = ["### Sources" if sources else "No post was found for this question."]
    seen: set[str] = set()
    for source in sources:
        if source["document_id"] in seen:
            continue
        seen.add(source["document_id"])
        title, url = _plain(source["title"] or source["document_id"]), source["url"]
        web = url.startswith(("https://", "http://"))
        lines.append(f"- [{title}]({url})" if web else f"- {title}")
    cost = facts.get("cost_usd")
    lines += [
        "",
        f"**Version** {facts.get('version', '')}",
        f"**Route** {facts.get('route', '')}",
        f"**Cost** {'not known' if cost is None else f'${cost:.6f}'}",
        f"**Trace** `{facts.get('trace_id', '')}`",
    ]
    if facts.get("degraded"):
        lines.append(f"**Degraded** {_plain(str(facts['degraded']))}")
    if facts.get("disclosure"):
        lines += ["", f"*{_plain(str(facts['disclosure']))}*"]
    return "\n\n".join(part for part in "\n".join(lines).split("\n") if part).replace(
        "\n\n- ", "\n- "
    )


def _plain(text: str) -> str:
    """Text that Markdown does not read as markup."""
    return "".join(
        f"\\{character}" if character in r"\`*_[]<>#|" else character for character in text
    )
