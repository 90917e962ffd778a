"""Build the Talk tab: a conversation with an author's twin, with sources and feedback.

Scope: its widgets and the effect of a click on each. Out of scope: a second version beside the
first (`comparison_tab.py`), HTML of sources (`footnotes.py`), the gateway (`conversation.py`).
Source: https://www.gradio.app/docs/gradio/chatbot

The browser clears the question box, and the server never writes to it: otherwise an answer that
streams for a minute would erase what is typed in the meantime. The question is sent in a separate
hidden box.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import gradio as gr

from twin_resources.errors import TwinError
from twin_resources.models.quotes.answer_text import prose_of
from twin_resources.page import turns as conversation
from twin_resources.page.author_picker import AuthorPicker, heading
from twin_resources.page.conversation import AnswersInProgress, Endpoint, model_name
from twin_resources.page.events import QUICK, SIDE_BY_SIDE
from twin_resources.page.footnotes import footnotes, prose_in_words
from twin_resources.page.page_notices import notice, problem
from twin_resources.page.readable import as_text
from twin_resources.page.turns import Talks, Turn
from twin_resources.registry.route_names import DRAFT

VERSIONS = {
    "": "as released",
    "stable": "tuned model alone",
    "canary": "version on trial",
    "base": "base model",
    "paid": "paid model",
}
EXAMPLES = 4
FEEDBACK_NOTE = (
    "Thumbs and your wording are feedback: stored, and used to judge and to train the twin. "
    "The conversation itself is kept in this browser only."
)
# built once at import: inside an event Gradio turns `gr.HTML` into an update, not a component
HTML_PROPERTIES: dict[str, Any] = dict(gr.HTML(padding=False, render=False).get_config())


class ChatTab:
    """The tab; create it inside a `gr.Blocks`."""

    def __init__(self, endpoint: Endpoint, whom: AuthorPicker, *, cookie_secret: str) -> None:
        self._endpoint, self._whom, self._underway = endpoint, whom, AnswersInProgress()
        # Known to this home alone and kept across restarts, or the browser would lose its state.
        self.kept = gr.BrowserState({}, storage_key="twin-talk", secret=cookie_secret)
        self.place = gr.State(None)  # index of the turn that gets the feedback
        with gr.Column(elem_id="talk"):
            self.talk = gr.Chatbot(
                label="Conversation",
                show_label=False,
                buttons=["copy"],
                group_consecutive_messages=False,
                autoscroll=False,  # page.js scrolls the question to the top instead
                elem_id="conversation",
                placeholder="Reading who can be asked …",
            )
            with gr.Row(elem_id="draft-row", visible=False) as self.draft_row:
                self.draft_why = gr.HTML("", padding=False)
                self.draft = gr.Button(
                    "Draft in this voice", size="sm", scale=0, min_width=170, elem_id="draft"
                )
            self.notice = gr.HTML("", elem_id="notice", padding=False)
            self._add_feedback()
            self._add_composer()
            with gr.Row(elem_id="actions"):
                self.again = gr.Button("Ask again", size="sm", elem_id="again")
                self.improve = gr.Button("Improve the wording", size="sm", elem_id="improve")
                self.new = gr.Button("New conversation", size="sm", elem_id="new")
                self.version = gr.Dropdown(
                    label="Answered by",
                    show_label=False,
                    container=False,
                    filterable=False,
                    visible=False,
                    min_width=150,
                    elem_id="version",
                )
        self.asked = gr.Textbox(visible=False)
        self.voted = gr.State({})

    def _add_feedback(self) -> None:
        """Add the fields for a vote's reason and for another wording."""
        with gr.Row(elem_id="why", visible=False) as self.why_row:
            self.why = gr.Textbox(
                placeholder="Why? One line, if you like",
                label="Why",
                show_label=False,
                max_lines=1,
                max_length=500,
                scale=8,
                container=False,
            )
            self.send_why = gr.Button("Send", size="sm", scale=1, min_width=80)
        with gr.Column(elem_id="wording", visible=False) as self.wording_box:
            self.wording = gr.Textbox(
                label="Your wording of this answer",
                lines=6,
                max_lines=20,
                max_length=20_000,
                elem_id="wording-text",
            )
            with gr.Row():
                self.keep_wording = gr.Button("Send my wording", variant="primary")
                self.leave_wording = gr.Button("Leave it")

    def _add_composer(self) -> None:
        """Add the question box with its two buttons."""
        with gr.Row(elem_id="composer", equal_height=True):
            self.question = gr.Textbox(
                placeholder="Reading who can be asked …",
                label="Your question",
                show_label=False,
                container=False,
                lines=1,
                max_lines=8,
                scale=8,
                min_width=120,
                elem_id="question",
                autofocus=True,
            )
            self.send = gr.Button("Ask", variant="primary", scale=1, min_width=90, elem_id="send")
            self.stop = gr.Button(
                "Stop", variant="stop", scale=1, min_width=90, visible=False, elem_id="stop"
            )

    def wire(self, page: gr.Blocks) -> None:
        """Connect the events to their handlers."""
        author, version = self._whom.author, self.version
        conversation_shown = [self.talk, self.place]
        head = [author, self._whom.name, version, self.notice]
        welcome = {"inputs": author, "outputs": [self.talk, self.question], **QUICK}
        page.load(self._open, self.kept, [*head, *conversation_shown], **QUICK).then(
            self._welcome, **welcome
        ).then(None, js="() => twin.ready()")
        author.input(
            self._change, [self.kept, author], [*head[1:], *conversation_shown], **QUICK
        ).then(self._welcome, **welcome)
        outputs = [self.talk, self.kept, self.place, self.notice, self.stop, self.send]
        asking = {"inputs": [self.asked, self.kept, author, version], "outputs": outputs}
        self.draft.click(self._last_question, [self.kept, author], self.asked, **QUICK).then(
            None, js="() => twin.begin()"
        ).then(self._draft, asking["inputs"][:-1], outputs, **SIDE_BY_SIDE).then(
            None, js="() => twin.done()"
        )
        # also runs after every stored answer and when the browser sends its state
        for changed in (self.kept.change, author.change):
            changed(
                self._offer_draft, [self.kept, author], [self.draft_row, self.draft_why], **QUICK
            )
        for event in (self.question.submit, self.send.click):
            event(
                None, [self.question], [self.question, self.asked], js="(text) => twin.take(text)"
            ).then(self._answer, **asking, **SIDE_BY_SIDE).then(None, js="() => twin.done()")
        for chosen in (
            self.talk.example_select(self._example, None, self.asked, **QUICK),
            self.again.click(
                self._take_back, [self.kept, author], [self.kept, self.asked], **QUICK
            ),
        ):
            chosen.then(None, js="() => twin.begin()").then(
                self._answer, **asking, **SIDE_BY_SIDE
            ).then(None, js="() => twin.done()")
        self.stop.click(self._stop, **QUICK)
        page.unload(self._stop)  # nobody is reading any more
        self.new.click(
            self._new,
            [self.kept, author],
            [self.kept, *conversation_shown, self.notice, self.why_row, self.wording_box],
            **QUICK,
        ).then(self._welcome, **welcome)
        self._wire_feedback(author)

    def _wire_feedback(self, author: gr.Dropdown) -> None:
        self.talk.select(self._select, [self.kept, author], self.place, **QUICK)
        self.talk.like(
            self._vote,
            [self.kept, author],
            [self.kept, self.notice, self.voted, self.why_row, self.why],
            **QUICK,
        )
        for sent in (self.why.submit, self.send_why.click):
            sent(self._say_why, [self.why, self.voted], [self.notice, self.why_row], **QUICK)
        self.improve.click(
            self._open_wording,
            [self.kept, author, self.place],
            [self.wording_box, self.wording, self.notice],
            **QUICK,
        )
        self.keep_wording.click(
            self._send_wording,
            [self.kept, author, self.place, self.wording],
            [self.notice, self.wording_box],
            **QUICK,
        )
        self.leave_wording.click(lambda: gr.Column(visible=False), None, self.wording_box, **QUICK)

    async def _open(self, browser_state: object) -> tuple[Any, ...]:
        slugs, why = await self._whom.versions()
        last = next(reversed(conversation.talks_of(browser_state)), None)
        author = last if last in slugs else next(iter(slugs), None)
        return self._whom.choice(list(slugs), author), *self._shown(
            browser_state, author, slugs, why
        )

    async def _change(self, browser_state: object, author: str) -> tuple[Any, ...]:
        return self._shown(browser_state, author, *(await self._whom.versions()))

    def _shown(
        self, browser_state: object, author: str | None, slugs: dict[str, list[str]], why: str
    ) -> tuple[Any, ...]:
        turns = conversation.talks_of(browser_state).get(author or "", [])
        return (
            heading(self._whom.name_of(author)),
            _choice(slugs.get(author or "", [])),
            why,
            _chat(turns),
            conversation.answered(turns),
        )

    def _welcome(self, author: str | None) -> tuple[Any, Any]:
        """Set name and examples; they need the tables, so they follow the gateway's data."""
        if not author:
            message = "No author can be asked yet. `twin up` imports posts."
            return gr.Chatbot(placeholder=message), gr.Textbox(
                placeholder="Nobody can be asked yet"
            )
        name = self._whom.name_of(author)
        titles = self._whom.files.titles(author, most=EXAMPLES)
        examples: Any = [
            {"text": f"What do you say in “{title}”?", "display_text": title} for title in titles
        ]
        some = '<p class="twin-small">Some of the posts:</p>' if titles else ""
        hint = (
            f'<p class="twin-welcome">Ask anything that {as_text(name)} has written about.</p>'
            f'<p class="twin-small">{as_text(FEEDBACK_NOTE)}</p>{some}'
        )
        return (
            gr.Chatbot(placeholder=hint, examples=examples),
            gr.Textbox(placeholder=f"Ask {name}"),
        )

    async def _answer(
        self,
        question: str,
        browser_state: object,
        author: str | None,
        version: str | None,
        request: gr.Request,
    ) -> AsyncGenerator[tuple[Any, ...]]:
        talks, question = conversation.talks_of(browser_state), question.strip()
        if not question:
            yield (gr.skip(),) * 6
            return
        if not author:  # the list could not be read when the page was opened
            slugs, why = await self._whom.versions()
            author = next(iter(slugs), None)
            if author is None:
                why = why or notice("No author can be asked yet: run `twin up`.", bad=True)
                yield *(gr.skip(),) * 3, why, gr.skip(), gr.skip()
                return
        model = model_name(author, version or "")
        before = talks.get(author, [])
        if version == DRAFT:  # a draft for the last answer, from the same messages
            spoken, answered = before[:-1], model_name(author, "")
        else:
            spoken, answered = before, model
        messages = conversation.messages_for(spoken, question, model=answered)
        turn = conversation.new_turn(question, model)
        turns = [*before, turn]
        talks = conversation.with_turns(talks, author, turns)
        yield _chat(turns), talks, gr.skip(), "", *_busy(True)
        why = ""
        answer = self._endpoint.ask(model, messages)
        try:
            async for piece in self._underway.pieces(str(request.session_hash), answer):
                turn["answer"], turn["twin"] = piece.text, dict(piece.facts)
                yield _chat(turns), *(gr.skip(),) * 5
            turn["how"] = "whole" if turn["twin"] else "stopped"
        except TwinError as error:
            turn["how"], turn["why"], why = "failed", error.found, problem(error)
        if turn["how"] == "stopped":
            why = notice("Stopped. Only whole answers take feedback.")
        place = len(turns) - 1 if turn["how"] == "whole" else None
        yield _chat(turns), talks, place, why, *_busy(False)

    async def _draft(
        self, question: str, browser_state: object, author: str | None, request: gr.Request
    ) -> AsyncGenerator[tuple[Any, ...]]:
        """Yield the page with a draft for the last question, below its answer."""
        async for shown in self._answer(question, browser_state, author, DRAFT, request):
            yield shown

    def _last_question(self, browser_state: object, author: str) -> str:
        turns = conversation.talks_of(browser_state).get(author, [])
        return turns[-1]["question"] if turns else ""

    def _offer_draft(self, browser_state: object, author: str | None) -> tuple[Any, str]:
        """If the last answer has no prose, show the reason and a button for a draft."""
        turns = conversation.talks_of(browser_state).get(author or "", [])
        facts = turns[-1]["twin"] if turns else {}
        asks = bool((facts.get("prose") or {}).get("model"))
        why = f"Prose in this voice is {prose_in_words(facts)}." if asks else ""
        return gr.Row(visible=asks), f'<p class="twin-small">{as_text(why)}</p>'

    def _example(self, chosen: gr.SelectData) -> str:
        value = chosen.value
        return str(value.get("text", "")) if isinstance(value, dict) else str(value)

    def _take_back(self, browser_state: object, author: str) -> tuple[Talks, str]:
        talks = conversation.talks_of(browser_state)
        turns = talks.get(author, [])
        if not turns:
            return talks, ""
        return conversation.with_turns(talks, author, turns[:-1]), turns[-1]["question"]

    async def _stop(self, request: gr.Request) -> None:
        self._underway.end(str(request.session_hash))

    def _new(self, browser_state: object, author: str) -> tuple[Any, ...]:
        talks = conversation.with_turns(conversation.talks_of(browser_state), author, [])
        hidden = gr.Row(visible=False), gr.Column(visible=False)
        return talks, _chat([]), None, "", *hidden

    def _select(self, browser_state: object, author: str, clicked: gr.SelectData) -> Any:
        turns = conversation.talks_of(browser_state).get(author, [])
        place = conversation.place_of(turns, clicked.index)
        return gr.skip() if place is None or not turns[place]["twin"] else place

    async def _vote(
        self, browser_state: object, author: str, clicked: gr.LikeData
    ) -> tuple[Any, ...]:
        talks = conversation.talks_of(browser_state)
        turns = talks.get(author, [])
        place = conversation.place_of(turns, clicked.index)
        # A removed thumb is neither: the vote stays until another one replaces it.
        if place is None or clicked.liked not in (True, False):
            return (gr.skip(),) * 5
        vote = {"trace_id": _trace(turns, place), "thumb": "up" if clicked.liked else "down"}
        reply, stored = await self._give(**vote)
        if stored:
            turns[place]["vote"] = vote["thumb"]
        return talks, reply, vote if stored else {}, gr.Row(visible=stored), ""

    async def _say_why(self, why: str, voted: dict[str, str]) -> tuple[Any, ...]:
        if not why.strip() or not voted:
            return "", gr.Row(visible=False)
        reply, stored = await self._give(**voted, comment=why.strip())
        return reply, gr.Row(visible=not stored)

    def _open_wording(
        self, browser_state: object, author: str, place: int | None
    ) -> tuple[Any, ...]:
        turns = conversation.talks_of(browser_state).get(author, [])
        if not _trace(turns, place):
            return gr.skip(), gr.skip(), notice("There is no whole answer yet to improve.")
        answer = turns[place or 0]["answer"]
        # the author's own sentences need no better wording, but the model's additions may
        return gr.Column(visible=True), prose_of(answer).strip() or answer, ""

    async def _send_wording(
        self, browser_state: object, author: str, place: int | None, wording: str
    ) -> tuple[Any, ...]:
        if not wording.strip():
            return notice("There is nothing to send."), gr.skip()
        trace = _trace(conversation.talks_of(browser_state).get(author, []), place)
        reply, stored = await self._give(trace_id=trace, edit=wording.strip())
        return reply, gr.Column(visible=not stored)

    async def _give(self, *, trace_id: str, **opinion: str) -> tuple[str, bool]:
        if not trace_id:
            return notice("Only whole answers take feedback."), False
        try:
            await self._endpoint.give_feedback(trace_id, **opinion)
        except TwinError as error:
            return problem(error), False
        return notice("Thank you: stored."), True


def _trace(turns: Sequence[Turn], place: int | None) -> str:
    """Return the trace of a turn's answer; empty if it has none that accepts feedback."""
    if place is None or not 0 <= place < len(turns):
        return ""
    return str(turns[place]["twin"].get("trace_id") or "")


def _chat(turns: Sequence[Turn]) -> Any:
    messages: Any = conversation.shown(turns)
    answers = [message for message in messages if message["role"] == "assistant"]
    for message, turn in zip(answers, conversation.with_answers(turns), strict=True):
        if turn["twin"]:
            message["content"] = [message["content"], _html_part(footnotes(turn["twin"]))]
    return gr.Chatbot(value=messages, feedback_value=conversation.thumbs(turns))


def _html_part(html: str) -> dict[str, Any]:
    """Return HTML as a part of a message, in the form in which Gradio stores a `gr.HTML`.

    Building a component for each answer and piece took 50 ms per piece in a talk of 60 turns.
    """
    return {
        "type": "component",
        "component": "html",
        "value": html,
        "constructor_args": {"padding": False, "render": False},
        "props": HTML_PROPERTIES | {"value": html},
    }


def _busy(busy: bool) -> tuple[Any, Any]:
    return gr.Button(visible=busy), gr.Button(visible=not busy)


def _choice(aliases: list[str]) -> Any:
    choices = [(VERSIONS.get(alias, alias), alias) for alias in aliases if alias != DRAFT]
    value = aliases[0] if aliases else None
    return gr.Dropdown(choices=choices, value=value, visible=len(choices) > 1)
