"""A simulated gateway that answers as slowly as a test needs, which a real gateway cannot.

Scope: its answers, and a log of requests and of readers who left. Out of scope: what a real gateway
can show (`test_chat_page.py` uses one).

Words in the question control the answer: `slow` writes a word every 0.25 s, `long` an answer of
several screens, `alone` only quotations, `nothing` the closest passages, and `spite` HTML
that the page must escape. `fail` refuses, and `stuck` never starts an answer. Run it as a process:
`python slow_gateway.py PORT LOG`. It writes a line of JSON to LOG for every request and every
reader who left. A `.delay` file beside LOG contains the seconds that the list of models takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from twin_resources.models.quotes.answer_text import render_prose_label

POST = "A clock wants one drop of oil on each pivot, and no more than one drop. Two drops run."
QUOTED = "A clock wants one drop of oil on each pivot, and no more than one drop."
MALICIOUS_HTML = '<img src=x onerror="window.hurt=1">'
TUNED = "A clock asks for little: a drop of oil, a level shelf, and to be left alone."
BASE = "As an AI language model, I can say that clocks are devices that need regular maintenance."
SECOND = "Brass wants patience."
FIRST_BLOCK, SECOND_BLOCK = f"> {QUOTED}", f"> {SECOND}"
SOURCES = ("\n>\n> — On oil, 4 May 2019", "\n>\n> — On brass")
LABEL = "Written by a program, not by Ann Bell"
QUOTATIONS = f"{FIRST_BLOCK}{SOURCES[0]}\n\n{SECOND_BLOCK}{SOURCES[1]}"
OPENING = f"{QUOTATIONS}\n\n{render_prose_label(LABEL)}"
CLOSEST = f"I found nothing. The closest:\n\n{QUOTATIONS}"
UNSAFE = f"{MALICIOUS_HTML} Write to `<author>` or to <author> if it stops."
MODELS = [
    *(f"twin/{author}{alias}" for author in ("ann", "bob") for alias in ("", "@base", "@stable")),
    "twin/ann@paid",
    "twin/ann@voice",
]
UNSUPPORTED = "92 % of sentences unsupported, limit 10 %"


class SlowGatewayRoutes:
    """The gateway's routes that the page uses."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._trace_count = 0

    def log(self, **event: Any) -> None:
        with self._log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")

    async def models(self, _request: Request) -> Response:
        delay = self._log.with_suffix(".delay")
        started = time.monotonic()
        while delay.exists() and time.monotonic() - started < float(delay.read_text() or 0):
            await asyncio.sleep(0.05)
        rows = [{"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in MODELS]
        return JSONResponse({"object": "list", "data": rows})

    async def feedback(self, request: Request) -> Response:
        body = await request.json()
        self.log(feedback=body)
        return JSONResponse({"stored": True, "trace_id": body["trace_id"], "scores": []})

    async def ask(self, request: Request) -> Response:
        body = await request.json()
        self.log(asked=body["model"], messages=body["messages"])
        question = str(body["messages"][-1]["content"])
        if "fail" in question:
            error = {"message": "no answer for <author> today", "type": "x", "code": "x"}
            return JSONResponse({"error": error}, status_code=400)
        return StreamingResponse(
            self.stream(request, body["model"], question), media_type="text/event-stream"
        )

    async def stream(self, request: Request, model: str, question: str) -> AsyncIterator[str]:
        self._trace_count += 1
        trace_id = f"{self._trace_count:032x}"
        self.log(trace={"id": trace_id, "model": model})
        try:
            if "stuck" in question:
                await asyncio.sleep(600)
            text = UNSAFE if "spite" in question else BASE if model.endswith("@base") else TUNED
            if "nothing" not in question:
                quotes_first = text == TUNED and model.partition("@")[2] in {"", "voice"}
                text = f"{OPENING if quotes_first else render_prose_label(LABEL)}{text}"
            if "alone" in question and "@" not in model:
                text = QUOTATIONS
            if "nothing" in question:
                text = CLOSEST
            if "long" in question:
                text = "\n\n".join([text, *[TUNED] * 30])
            for word in text.split(" "):
                await asyncio.sleep(0.25 if "slow" in question else 0.005)
                yield self.chunk({"content": f"{word} "})
            last = self.chunk({}, finish="stop", twin=build_twin_field(trace_id, model, question))
            yield last + "data: [DONE]\n\n"
            self.log(ended=question)
        except asyncio.CancelledError:
            self.log(left=question)
            raise

    @staticmethod
    def chunk(delta: dict[str, str], *, finish: str | None = None, **fields: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return f"data: {json.dumps(base | {'choices': [choice]} | fields)}\n\n"


def build_twin_field(trace_id: str, model: str, question: str) -> dict[str, Any]:
    """Return the field `twin` of an answer, with the gateway's keys."""
    html = f" {MALICIOUS_HTML}" if "spite" in question else ""
    post = {"document_id": "post-0", "title": f"On oil{html}", "url": "https://x.example/0"}
    other = {"document_id": "post-1", "title": "On brass", "url": "javascript:alert(1)"}
    version = {"base": "base", "paid": "paid"}.get(model.rpartition("@")[2], "v1")
    field: dict[str, Any] = {
        "trace_id": trace_id,
        "version": version,
        "route": f"alias:{model.rpartition('@')[2]}" if "@" in model else "stable",
        "cost_usd": 0.000034,
        "degraded": "",
        "disclosure": "Written by a language model trained on Ann Bell's posts, not by Ann Bell.",
        "sources": [],
    }
    first_at = [0, len(FIRST_BLOCK)]
    second_begin = OPENING.index(SECOND_BLOCK)
    second_at = [second_begin, second_begin + len(SECOND_BLOCK)]
    third = {"document_id": "post-2", "title": "On lemons", "url": ""}
    if "nothing" in question:
        offset = CLOSEST.index(FIRST_BLOCK)
        passages = (post | {"text": QUOTED}, first_at), (other | {"text": SECOND}, second_at)
        return field | {
            "answer": "not_found",
            "nearest": [
                passage | {"at": [place + offset for place in at]} for passage, at in passages
            ],
        }
    dated = {"published_at": "2019-05-04", "start": 0}
    quote = post | {"text": QUOTED, "start": 0, "end": len(QUOTED), "score": 0.9, "at": first_at}
    second = other | {"text": SECOND, "start": 0, "end": len(SECOND), "score": 0.8, "at": second_at}
    if "alone" in question:
        field["draft"] = {"why": UNSUPPORTED} if "@" in model else None
        shown = {"shown": True, "why": "", "model": "", "judged": False}
        hidden = shown | {"shown": False, "why": UNSUPPORTED, "model": "twin/ann@voice"}
        field["prose"] = shown if "@" in model else hidden
    return field | {
        "answer": "quote_and_voice",
        "quotes": [quote | {"published_at": "2019-05-04"}, second],
        "sources": [
            post | dated | {"chunk_id": "c0", "text": POST, "end": len(POST)},
            third | dated | {"chunk_id": "c1", "text": f"Lemon and patience.{html}", "end": 40},
        ],
    }


def main() -> None:
    port, log = int(sys.argv[1]), Path(sys.argv[2])
    gateway = SlowGatewayRoutes(log)
    app = Starlette(
        routes=[
            Route("/v1/models", gateway.models),
            Route("/v1/chat/completions", gateway.ask, methods=["POST"]),
            Route("/twin/feedback", gateway.feedback, methods=["POST"]),
        ]
    )
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
