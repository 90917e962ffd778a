"""Build the Before | after tab: the base model and the tuned model answer one question.

Scope: the widgets, two independent conversations, the blind comparison and its vote.
Out of scope: the use of a vote (`gateway/api/feedback.py`,
`twin_assets/instructions/preference_pairs.py`).

In blind mode, each question assigns the models to the sides at random, and each side receives only
that question. No version is named before the vote, because readers prefer an answer that they know
to be the tuned model's. A vote rejects one answer, but training never imitates the other answer. It
imitates only the author's own text, or an edit made with the author's own key.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr

from twin_resources.errors import TwinError
from twin_resources.page import turns as chat_turns
from twin_resources.page.author_picker import AuthorPicker
from twin_resources.page.composer import add_composer, toggle_stop_button
from twin_resources.page.escaping import escape_html
from twin_resources.page.event_options import CONCURRENT_EVENT, UNQUEUED_EVENT
from twin_resources.page.footnotes import format_cost, render_trace_link
from twin_resources.page.gateway_client import (
    AnswersInProgress,
    GatewayClient,
    PartialAnswer,
    model_name,
)
from twin_resources.page.page_notices import render_error_notice, render_notice
from twin_resources.page.plain_names import translate_version
from twin_resources.page.turns import Turn

BEFORE, AFTER = "base", "stable"
SIDE_LABELS = {BEFORE: "Before: the base model", AFTER: "After: the tuned model"}
BLIND_LABELS = ("Answer A", "Answer B")
VOTE_NOTE = (
    "Your vote rejects the other answer: the twin is trained away from it and toward the author's "
    "own words on that question. It is not trained to imitate the answer that you prefer."
)
Side = list[Turn]


class ComparisonTab:
    """The Before | after tab; create it inside a `gr.Blocks`."""

    def __init__(self, gateway: GatewayClient, author_picker: AuthorPicker) -> None:
        self._gateway, self._author_picker = gateway, author_picker
        self._answers_in_progress = AnswersInProgress()
        # `left` and `right` are lists of turns; `aliases` contains the model alias of each side.
        self.state = gr.State(_build_initial_state(blind=False))
        with gr.Row(elem_id="compare-choice"):
            self.blind = gr.Checkbox(
                label="Blind: hide which model wrote each answer", elem_id="blind", value=False
            )
        with gr.Row(equal_height=True, elem_id="sides"):
            self.sides = [
                gr.Chatbot(
                    label=label,
                    buttons=["copy"],
                    elem_id=f"side-{index}",
                    min_width=300,
                )
                for index, label in enumerate(SIDE_LABELS.values())
            ]
        with gr.Row(elem_id="votes", visible=False) as self.votes:
            self.prefer_left_button = gr.Button("A is better", elem_id="prefer-0")
            self.prefer_none_button = gr.Button("No difference", elem_id="prefer-none")
            self.prefer_right_button = gr.Button("B is better", elem_id="prefer-1")
        self.notice = gr.HTML("", padding=False, elem_id="compare-notice")
        self.question, self.send_button, self.stop_button = add_composer(
            "A question for both",
            placeholder="A question for both",
            send_label="Ask both",
            id_prefix="compare-",
        )
        note_html = f'<p class="twin-small" id="vote-note">{escape_html(VOTE_NOTE)}</p>'
        gr.HTML(note_html, padding=False, elem_id="vote")
        self.voice = gr.HTML("", padding=False, elem_id="voice")
        self.asked_question = gr.Textbox(visible=False)

    def wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Connect the events to their handlers.

        Args:
            tab: the Gradio tab that contains these widgets.
        """
        author = self._author_picker.author
        outputs = [*self.sides, self.state, self.votes, self.notice]
        for event in (self.question.submit, self.send_button.click):
            event(
                None,
                [self.question],
                [self.question, self.asked_question],
                js="(text) => twin.submitQuestion(text, 'compare')",
            ).then(
                self._ask,
                [self.asked_question, self.state, author, self.blind],
                [*outputs, self.stop_button, self.send_button],
                **CONCURRENT_EVENT,
            ).then(None, js="() => twin.finishAnswer('compare')")
        for voice_event in (tab.select, author.input):
            voice_event(self._render_voice_plot, author, self.voice, **UNQUEUED_EVENT)
        self.stop_button.click(self._stop_answers, **UNQUEUED_EVENT)
        page.unload(self._stop_answers)
        for reset_event in (self.blind.input, author.input):
            reset_event(self._reset, self.blind, outputs, **UNQUEUED_EVENT)
        for side_index, button in (
            (0, self.prefer_left_button),
            (None, self.prefer_none_button),
            (1, self.prefer_right_button),
        ):
            button.click(self._make_vote_handler(side_index), self.state, outputs, **UNQUEUED_EVENT)

    def _render_voice_plot(self, author: str | None) -> str:
        """Return the newest plot of the author's voice as HTML, or "" if there is no plot."""
        plot_url = self._author_picker.files.voice_plot(author) if author else ""
        if not plot_url:
            return ""
        return (
            '<section class="twin-figures twin-voice">'
            "<h2>The voice in the newest gate's report</h2>"
            f'<figure><img src="{plot_url}" alt="voice" loading="lazy"></figure></section>'
        )

    def _reset(self, blind: bool) -> tuple[Any, ...]:
        labels = BLIND_LABELS if blind else SIDE_LABELS.values()
        empty_chatbots = [gr.Chatbot(value=[], label=label) for label in labels]
        return *empty_chatbots, _build_initial_state(blind=blind), gr.Row(visible=False), ""

    async def _list_authors_with_answer_model(self) -> set[str]:
        try:
            return await self._gateway.list_authors_with_answer_model()
        except TwinError:
            return set()  # the question will fail in the same way and report the error

    async def _find_comparison_problem(self, author: str) -> str:
        """Return a notice that explains why the models cannot be compared, or "" if they can."""
        aliases_by_author, notice_html = await self._author_picker.load_aliases()
        if AFTER not in aliases_by_author.get(author, []):
            name = self._author_picker.author_name(author) or "anyone"
            return notice_html or render_notice(
                f"No tuned version of {name} has been released yet, so there is nothing to compare."
            )
        if author in await self._list_authors_with_answer_model():
            name = self._author_picker.author_name(author)
            return render_notice(
                f"An answer model answers for {name} until a tuned version is better, so there is "
                "nothing to compare yet."
            )
        return ""

    def _start_answers(
        self,
        question: str,
        sides: list[Side],
        aliases: list[str],
        author: str,
        request: gr.Request,
    ) -> list[AsyncIterator[PartialAnswer]]:
        """Append the question to both sides, and return their answer streams."""
        session = str(request.session_hash)
        streams: list[AsyncIterator[PartialAnswer]] = []
        for side, alias in zip(sides, aliases, strict=True):
            model = model_name(author, alias)
            messages = chat_turns.build_model_messages(side, question, model=model)
            answer = self._gateway.ask(model, messages)
            streams.append(self._answers_in_progress.stream_until_stopped(session, answer))
            side.append(chat_turns.new_turn(question, model))
        return streams

    async def _ask(
        self,
        question: str,
        state: dict[str, Any],
        author: str,
        blind: bool,
        request: gr.Request,
    ) -> AsyncGenerator[tuple[Any, ...]]:
        question = question.strip()
        skipped_updates = (gr.skip(),) * 7
        if not question:
            yield skipped_updates
            return
        if notice_html := await self._find_comparison_problem(author):
            yield *skipped_updates[:4], notice_html, *skipped_updates[:2]
            return
        aliases = random.sample(list(SIDE_LABELS), 2) if blind else list(SIDE_LABELS)
        sides: list[Side] = [[], []] if blind else [list(state["left"]), list(state["right"])]
        streams = self._start_answers(question, sides, aliases, author, request)
        state = {"left": sides[0], "right": sides[1], "aliases": aliases, "blind": blind}
        yield (
            *_render_sides(state, is_revealed=not blind),
            gr.skip(),
            gr.Row(visible=False),
            "",
            *toggle_stop_button(True),
        )
        notice_html = ""
        async for side_index, piece in _merge_streams(streams):
            turn = sides[side_index][-1]
            if isinstance(piece, TwinError):
                turn["how"], turn["why"] = "failed", piece.found
                notice_html = render_error_notice(piece)
                continue
            turn["answer"], turn["twin"] = piece.text, dict(piece.facts)
            if piece.facts:
                turn["how"] = "whole"
            if not blind:  # in blind mode, streaming would reveal which model is faster
                yield (
                    *_render_sides(state, is_revealed=True),
                    *skipped_updates[:3],
                    *toggle_stop_button(True),
                )
        for side in sides:
            side[-1]["how"] = "stopped" if side[-1]["how"] == "writing" else side[-1]["how"]
        are_both_complete = all(side[-1]["how"] == "whole" for side in sides)
        votes_update = gr.Row(visible=blind and are_both_complete)
        yield (
            *_render_sides(state, is_revealed=not blind),
            state,
            votes_update,
            notice_html,
            *toggle_stop_button(False),
        )

    async def _stop_answers(self, request: gr.Request) -> None:
        self._answers_in_progress.stop(str(request.session_hash))

    def _make_vote_handler(self, preferred: int | None) -> Any:
        async def vote(state: dict[str, Any]) -> tuple[Any, ...]:
            sides: list[Side] = [state["left"], state["right"]]
            message = "No preference: nothing was stored."
            if preferred is not None:
                preferred_facts, rejected_facts = (
                    sides[side_index][-1]["twin"] for side_index in (preferred, 1 - preferred)
                )
                try:
                    await self._gateway.give_feedback(
                        str(rejected_facts["trace_id"]), preferred=str(preferred_facts["trace_id"])
                    )
                except TwinError as error:
                    return gr.skip(), gr.skip(), gr.skip(), gr.skip(), render_error_notice(error)
                message = f"Stored: {BLIND_LABELS[1 - preferred]} is rejected."
            return (
                *_render_sides(state, is_revealed=True),
                gr.skip(),
                gr.Row(visible=False),
                render_notice(message),
            )

        return vote


def _build_initial_state(*, blind: bool) -> dict[str, Any]:
    """Return the state before the first question, as `ComparisonTab.state` stores it."""
    return {"left": [], "right": [], "aliases": list(SIDE_LABELS), "blind": blind}


def _render_sides(state: dict[str, Any], *, is_revealed: bool) -> tuple[Any, Any]:
    """Return updates of both chatbots; `is_revealed` adds the model names and the facts."""
    chatbots: list[Any] = []
    for index, (side, alias) in enumerate(
        zip((state["left"], state["right"]), state["aliases"], strict=True)
    ):
        messages: Any = chat_turns.render_messages(side)
        label = SIDE_LABELS[alias]
        name = BLIND_LABELS[index] if state["blind"] else label
        if is_revealed and state["blind"]:
            name = f"{name}: {label.partition(': ')[2]}"
        if is_revealed and side and side[-1]["twin"]:
            twin = side[-1]["twin"]
            link = render_trace_link(str(twin.get("trace_id", "")), label="every step")
            facts = " · ".join(
                (
                    escape_html(translate_version(str(twin.get("version", "")))),
                    format_cost(twin.get("cost_usd")),
                    link,
                )
            )
            note_html = f'<p class="twin-small">{facts}</p>'
            messages[-1] = messages[-1] | {"content": [messages[-1]["content"], gr.HTML(note_html)]}
        chatbots.append(gr.Chatbot(value=messages, label=name))
    return chatbots[0], chatbots[1]


async def _merge_streams(
    answers: list[AsyncIterator[PartialAnswer]],
) -> AsyncGenerator[tuple[int, PartialAnswer | TwinError]]:
    """Yield the pieces of all answers as they arrive, each with its answer's index."""
    queue: asyncio.Queue[tuple[int, PartialAnswer | TwinError | None]] = asyncio.Queue()

    async def read(side_index: int, answer: Any) -> None:
        try:
            async with aclosing(answer):
                async for piece in answer:
                    await queue.put((side_index, piece))
        except TwinError as error:
            await queue.put((side_index, error))
        finally:
            await queue.put((side_index, None))

    tasks = [
        asyncio.ensure_future(read(side_index, answer)) for side_index, answer in enumerate(answers)
    ]
    try:
        open_stream_count = len(tasks)
        while open_stream_count:
            side_index, piece = await queue.get()
            if piece is None:
                open_stream_count -= 1
            else:
                yield side_index, piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
