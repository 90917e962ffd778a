"""Measure the prose that reaches a reader: a tuned version's sentences that the judge keeps.

    python tests/bench/bench_served_prose.py --quick|--full --home HOME [--author SLUG]

It asks a home's stable version the tuned half of an author's questions
(tests/bench/reader_questions), as if the version's prose were released: through the gateway's
stages, llama.cpp, and the sentence judge with the gate's threshold. `--quick` asks once, `--full`
three times with different seeds. Each answer is printed, so that a person can compare it with the
posts. The goal (at most 10 % unsupported sentences, no contradiction) applies to that person's
findings, because the judge makes errors. The home's policy does not change.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.reader_questions.question_files import BUNDLED, read_asked_questions
from tests.bench.rows import Row, create_parser, print_results
from twin_assets.evaluation.measures.sentence_faithfulness import calibrate
from twin_resources.access.keys import open_keyring
from twin_resources.authors.answer_forms import ProseRelease, SentenceThreshold
from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.passage_finder import create_passage_finder
from twin_resources.gateway.request.request_body import read_question
from twin_resources.gateway.request_path import RequestPath
from twin_resources.gateway.routing.snapshot import Server
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.quality.judges.sentence_support import SentenceSupport
from twin_resources.quality.judges.texts import bundled_writers
from twin_resources.settings import load_secrets, load_settings


@dataclass
class ProseCounts:
    """Counts over all answers. Only sentences with a claim are counted.

    Attributes:
        kept_sentences: sentences that the judge keeps.
        shown_sentences: kept sentences of answers whose prose is shown. Prose is shown if the judge
            keeps at least half of an answer's sentences.
        prose_answers: answers whose prose is shown.
    """

    sentences: int = 0
    kept_sentences: int = 0
    shown_sentences: int = 0
    answers: int = 0
    prose_answers: int = 0


def start_version(home: Path, author: str) -> tuple[RequestPath, ServerProcess]:
    """Start the stable version; return a request path that releases its prose, and the server.

    Raises:
        TwinError: the home has no stable version of this author.
    """
    settings = load_settings(home)
    live = LiveConfig(settings)
    live.refresh()
    policy = live.current.policy
    entry = policy.authors.get(author) if policy else None
    if policy is None or entry is None or entry.stable is None:
        raise TwinError(
            f"ask the tuned version of {author}",
            found=f"no stable version in {home}",
            next_step="train one with `bash deploy/up.sh`, or name another home",
        )
    embedder = load_embedder(settings, threads=1, allow_gpu=False)
    judge = SentenceSupport(embedder.embed, embedder=embedder.revision)
    (writer,) = (writer for writer in bundled_writers(exclude=()) if writer.name == author)
    calibrated = calibrate(judge, writer.passages)
    assert calibrated is not None, "the bundled author has too few sentences"
    threshold = SentenceThreshold(judge.revision, calibrated.threshold)
    stable = replace(entry.stable, prose=ProseRelease("", threshold))
    process = ServerProcess(settings, stable.base_gguf, stable.adapter_gguf, alias=author)
    ready = process.wait_until_ready()
    server = Server(ready.url, ready.alias, ready.key, ready=True)
    live.current = replace(
        live.current,
        policy=replace(policy, authors={author: replace(entry, stable=stable)}),
        servers={f"{author}/v{stable.version}": server},
    )
    return RequestPath(
        live, create_passage_finder(settings), settings.self_hosted_usd_per_hour
    ), process


async def ask_once(
    path: RequestPath, author: str, question: str, *, seed: int, counts: ProseCounts
) -> None:
    """Ask a question, judge and print the answer, and add it to the counts."""
    settings = path.live_config.settings
    key = open_keyring(settings).find(f"Bearer {load_secrets(settings).gateway_key}")
    messages = [{"role": "user", "content": question}]
    prepared = await path.prepare(
        read_question({"model": f"twin/{author}", "messages": messages}), key
    )
    judged = prepared.prose_note.supported_sentences
    if judged is None:
        return  # declined, or without a quotation that prose could follow
    (server,) = path.live_config.current.servers.values()
    body: dict[str, Any] = {
        **prepared.exchange.sampling,
        "messages": list(prepared.exchange.messages),
        "seed": seed,
    }
    async with httpx.AsyncClient(trust_env=False, timeout=300) as client:
        response = await client.post(
            f"{server.url}/chat/completions",
            json=body | {"model": server.alias},
            headers={"Authorization": f"Bearer {server.key}"},
        )
    written_text = response.json()["choices"][0]["message"]["content"]
    shown_text = await judged.feed(written_text, is_final=True)
    counts.answers += 1
    counts.prose_answers += bool(shown_text)
    counts.sentences += judged.claim_count
    counts.kept_sentences += judged.kept_count
    counts.shown_sentences += judged.kept_count if shown_text else 0
    print(f"{question}\n  written: {written_text}\n  shown: {shown_text or 'nothing'}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--author", choices=BUNDLED, default=BUNDLED[0])
    options = parser.parse_args(arguments)
    path, process = start_version(options.home, options.author)
    counts = ProseCounts()
    asked = read_asked_questions(options.author, "tuned")
    questions = [question for question in asked if question.kind == "own"]

    async def ask_all() -> None:
        for seed in range(1, 4 if options.full else 2):
            for question in questions:
                await ask_once(path, options.author, question.question, seed=seed, counts=counts)

    try:
        asyncio.run(ask_all())
    finally:
        process.stop()
    total = f"of {counts.sentences} sentences in {counts.answers} answers"
    rows = [
        Row(f"sentences that the judge keeps, {total}", counts.kept_sentences, "sentences"),
        Row(f"sentences that reach a reader, {total}", counts.shown_sentences, "sentences"),
        Row("answers with prose", counts.prose_answers, "answers"),
    ]
    return print_results(rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
