"""Prose that reaches a reader: which sentences of a tuned version the judge lets through.

    python tests/bench/bench_served_prose.py --quick|--full --home HOME [--author SLUG]

Puts the tuned half of an author's questions (tests/bench/reader_questions) to the stable version of
a home that has trained one, as if its prose were released: the gateway's stages, llama.cpp, then
the judge of sentences with the gate's threshold. `--quick` asks once, `--full` three times with
other seeds; `--json FILE` writes the figures. Each answer is printed, to be read beside the posts:
the goal of at most 10 % unsupported sentences and no contradiction is that of a reading, since the
judge errs. The home's policy stays as it is.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.reader_questions.reading import BUNDLED, read_asked
from tests.bench.rows import Row, create_parser, print_results
from twin_assets.evaluation.measures.sentence_faithfulness import calibrate
from twin_resources.access.keys import open_keyring
from twin_resources.authors.answer_forms import ProseRelease, SentenceThreshold
from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.found_passages import create_passage_finder
from twin_resources.gateway.request.request_body import read_question
from twin_resources.gateway.routing.snapshot import Server
from twin_resources.gateway.stages.request_path import RequestPath
from twin_resources.models.embedder.embedder import load_embedder
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.quality.judges.sentence_support import SentenceSupport
from twin_resources.quality.judges.texts import bundled_writers
from twin_resources.settings import load_secrets, load_settings


@dataclass
class Written:
    """Sentences of all answers that claim something: written, kept by the judge, shown (of answers
    of which at least half are kept)."""

    sentences: int = 0
    kept: int = 0
    shown: int = 0
    answers: int = 0
    with_prose: int = 0


def path_of(home: Path, author: str) -> tuple[RequestPath, ServerProcess]:
    """The gateway's way to a prompt, with the author's prose released, and the version's server.

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
            found=f"none that answers in {home}",
            next_step="train one with `bash deploy/up.sh`, or name another home",
        )
    embedder = load_embedder(settings, threads=1, allow_gpu=False)
    judge = SentenceSupport(embedder.embed, embedder=embedder.revision)
    (hand,) = (one for one in bundled_writers(exclude=()) if one.name == author)
    calibrated = calibrate(judge, hand.passages)
    assert calibrated is not None, "a bundled author has sentences enough"
    cut = SentenceThreshold(judge.revision, calibrated.threshold)
    stable = replace(entry.stable, prose=ProseRelease("", cut))
    process = ServerProcess(settings, stable.base_gguf, stable.adapter_gguf, alias=author)
    running = process.wait_until_ready()
    server = Server(running.url, running.alias, running.key, ready=True)
    live.current = replace(
        live.current,
        policy=replace(policy, authors={author: replace(entry, stable=stable)}),
        servers={f"{author}/v{stable.version}": server},
    )
    return RequestPath(
        live, create_passage_finder(settings), settings.self_hosted_usd_per_hour
    ), process


async def ask(path: RequestPath, author: str, question: str, *, seed: int, so_far: Written) -> None:
    """Ask once, judge, print."""
    settings = path.live_config.settings
    key = open_keyring(settings).find(f"Bearer {load_secrets(settings).gateway_key}")
    messages = [{"role": "user", "content": question}]
    prepared = await path.prepare(
        read_question({"model": f"twin/{author}", "messages": messages}), key
    )
    judged = prepared.prose_note.supported_sentences
    if judged is None:
        return  # declined, or nothing is quoted that prose could stand below
    (server,) = path.live_config.current.servers.values()
    body: dict[str, Any] = {
        **prepared.exchange.sampling,
        "messages": list(prepared.exchange.messages),
        "seed": seed,
    }
    async with httpx.AsyncClient(trust_env=False, timeout=300) as client:
        answer = await client.post(
            f"{server.url}/chat/completions",
            json=body | {"model": server.alias},
            headers={"Authorization": f"Bearer {server.key}"},
        )
    written = answer.json()["choices"][0]["message"]["content"]
    shown = await judged.feed(written, is_final=True)
    so_far.answers += 1
    so_far.with_prose += bool(shown)
    so_far.sentences += judged.claim_count
    so_far.kept += judged.kept_count
    so_far.shown += judged.kept_count if shown else 0
    print(f"{question}\n  written: {written}\n  shown: {shown or 'nothing'}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--author", choices=BUNDLED, default=BUNDLED[0])
    options = parser.parse_args(arguments)
    path, process = path_of(options.home, options.author)
    found = Written()
    asked = [one for one in read_asked(options.author, "tuned") if one.kind == "own"]

    async def ask_all() -> None:
        for seed in range(1, 4 if options.full else 2):
            for one in asked:
                await ask(path, options.author, one.question, seed=seed, so_far=found)

    try:
        asyncio.run(ask_all())
    finally:
        process.stop()
    of = f"of {found.sentences} sentences in {found.answers} answers"
    rows = [
        Row(f"sentences that the judge keeps, {of}", found.kept, "sentences"),
        Row(f"sentences that reach a reader, {of}", found.shown, "sentences"),
        Row("answers with prose", found.with_prose, "answers"),
    ]
    return print_results(rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
