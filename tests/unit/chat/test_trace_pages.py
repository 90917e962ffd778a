"""Test the HTML of a list of traces and of one trace, and that untrusted text is escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from twin_resources.observability.langfuse.trace_reading import (
    ObservationNode,
    Score,
    TraceRow,
    TraceTree,
)
from twin_resources.page.answer_page import render_answer_page
from twin_resources.page.trace_pages import render_trace, render_trace_list
from twin_resources.registry.explanation import ExplainedPassage, Explanation

EVIL = '"><img src=x onerror=alert(1)>'
ROW = TraceRow(
    trace_id="a" * 32,
    at="2026-01-01T10:20:30.000Z",
    author="ann",
    version="v1",
    route="stable",
    prompt_class="short",
    question="How much oil?",
    answer="One drop.",
    seconds=2.1,
    cost_usd=0.00002,
    tokens=40,
    error="",
    degraded="",
    scores=(
        Score("judge:support@26fd8413b998", 0.5),
        Score("thumbs", 0, "stiff"),
        Score("output", "Two."),
        Score("latency_s", 2.1),
    ),
)
STEP = ObservationNode(
    "1", "GENERATION", "answer", ROW.at, 2.1, (("user", "Oil?"),), "One.", {"model": "m"}
)
PASSAGE = ExplainedPassage(
    "c1", "d1", "On oil", 0, (0, 40), "A passage.", "s1", "oil.md", "https://x.example"
)


def extract_text(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", html)


def test_a_list_shows_the_facts_that_distinguish_traces() -> None:
    html = render_trace_list(
        [ROW, replace(ROW, error="Timeout", question="", answer="", scores=())]
    )
    text = extract_text(html)
    for part in (
        *("How much oil?", "1 Jan 2026, 10:20", "version 1", "2.1 s", "$0.000020"),
        *("thumbs down", "reworded", "support (judge) 0.5"),
    ):
        assert part in text
    assert "latency_s" not in text
    assert "26fd" not in text
    assert "Timeout" in text
    assert "(no text)" in text
    assert f'href="/?trace={ROW.trace_id}"' in html
    assert "No trace" in render_trace_list([])


def test_a_quotation_is_listed_as_plain_text_with_its_route_once() -> None:
    scores = (Score("quote_threshold", 0.34), Score("quote_score", 0.5), Score("quotations", 2))
    answer = "> A drop. **Old oil is paste.**\n>\n> — Oil, 2016"
    row = replace(ROW, version="quotes", route="quotes", answer=answer, scores=scores)
    text = " ".join(extract_text(render_trace_list([row])).split())
    assert "A drop. Old oil is paste. — Oil, 2016" in text
    assert text.count("quotations alone") == 1
    assert "quote" not in text.replace("quotations alone", "")


def test_a_trace_has_prompt_passages_scores_and_cost() -> None:
    explained = Explanation(
        trace_id=ROW.trace_id,
        trace={},
        question="",
        answer="",
        model={},
        manifest={},
        passages=(PASSAGE, ExplainedPassage("gone")),
    )
    tree = TraceTree(ROW, (replace(STEP, children=(replace(STEP, name="inner"),)),), {})
    own_parts = ("How much oil?", "One drop.", "On oil", "oil.md", "edited or deleted")
    langfuse_parts = ("stiff", "inner")  # scores and steps: Langfuse has them, so they are linked
    text = extract_text(render_trace(tree, explained))
    for part in (*own_parts, *langfuse_parts, "$0.000020"):
        assert part in text, part
    html = render_trace(tree, explained, langfuse_url="https://lf.example/project/twin/traces/a")
    text = extract_text(html)
    assert all(part in text for part in own_parts)
    assert not any(part in text for part in langfuse_parts)
    assert 'href="https://lf.example/project/twin/traces/a"' in html


def test_a_trace_without_passages_says_so() -> None:
    explained = Explanation(ROW.trace_id, {}, "", "", {}, {}, ())
    html = render_trace(TraceTree(ROW, (STEP,), {}), explained)
    assert "No post was retrieved" in extract_text(html)


def test_foreign_text_is_escaped() -> None:
    names = ("trace_id", "at", "version", "route", "question", "answer", "error")
    texts: dict[str, Any] = dict.fromkeys(names, EVIL)
    row = replace(ROW, **texts, scores=(Score(EVIL, EVIL, EVIL, EVIL), Score("output", EVIL)))
    step = ObservationNode(EVIL, EVIL, EVIL, EVIL, None, ((EVIL, EVIL),), EVIL, {"model": EVIL})
    passage = ExplainedPassage(EVIL, EVIL, EVIL, 0, (0, 1), EVIL, EVIL, EVIL, "javascript:alert(1)")
    model = {"checkpoint": EVIL}
    explained = Explanation(EVIL, {}, EVIL, EVIL, model, {}, (passage, ExplainedPassage(EVIL)))
    facts = {f"twin.{name}": EVIL for name in ("version", "route", "degraded", "class")}
    html = render_trace(
        TraceTree(row, (step,), facts),
        explained,
        langfuse_url="javascript:x",
        explanation_error=EVIL,
    )
    html += render_trace_list([row])
    assert "<img" not in html
    assert "javascript:" not in html


def test_an_answers_page_shows_its_markdown_and_escapes_everything_else() -> None:
    answer = f"> **One** drop.\n>\n> — [On oil](https://x/oil)\n\n{EVIL} [x](javascript:alert(1))"
    html = render_answer_page(replace(ROW, question=EVIL, answer=answer))
    assert "<strong>One</strong> drop." in html
    assert 'href="https://x/oil"' in html
    assert f'href="/?trace={ROW.trace_id}"' in html
    assert "<img" not in html
    assert 'href="javascript' not in html


def test_prose_is_framed_below_its_label_and_has_no_bar_of_a_quotation() -> None:
    label = "Written by a program, not by <Ann>"
    row = replace(ROW, prose_label=label, above_prose="> Oil it once a year.")
    quoted = replace(ROW, answer="> One drop.")
    whole = render_trace(TraceTree(row, (STEP,), {}))
    for html in (whole, render_answer_page(row)):
        quotations, _, frame = html.partition('<aside class="twin-prose">')
        assert "Oil it once a year." in quotations
        assert frame.index("not by &lt;Ann&gt;") < frame.index("One drop.")
        assert "<blockquote" not in frame
    assert "not by &lt;Ann&gt;:</b> One drop." in render_trace_list([row])
    assert '<blockquote class="twin-answer">One' in render_trace(TraceTree(quoted, (STEP,), {}))
    assert "twin-prose" not in render_trace(TraceTree(quoted, (STEP,), {}))
