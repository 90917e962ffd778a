"""Fit the weights of the injection guard to the examples of its package.

Scope: which texts are examples of which kind.
Out of scope: the classifiers (`front_desk_weights.py`), using the weights
(`gateway/guards/injection.py`).

    cd deploy && python -m checkout.guard_weights     # writes weights.npz again, in 3 CPU minutes
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

from checkout.front_desk_weights import (
    Corpus,
    Sample,
    digest_of,
    fit_layer,
    fit_ngrams,
    prose,
    read_examples,
    write_weights,
)

from twin_resources.gateway.front_desk.message_kinds import FittedWeights
from twin_resources.gateway.guards.injection import KINDS, WEIGHTS, sentences

EXAMPLES = WEIGHTS.with_name("examples")
# A stranger's messages that tested the guard until they had been read; another set tests it now.
SPENT = Path(__file__).resolve().parents[2] / "tests/bench/guards/strangers/messages.jsonl"
_REPEATED = 3  # own examples are repeated: readers' messages are four times as many
_FROM_THE_DESK = 60  # per language and kind, except ordinary
_LANGUAGES = ("de", "en", "es", "fr")


def read_own(folder: Path = EXAMPLES) -> list[tuple[str, str]]:
    """Return (text, kind), in the order of the files."""
    own: list[tuple[str, str]] = []
    for file in sorted(folder.glob("*.toml")):
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        own += [(text, kind) for kind in table for text in table[kind].strip().splitlines()]
    return own


def read_spent() -> list[tuple[str, str]]:
    """Return (text, kind) of the stranger's instructions and of each sentence of the ordinary ones.

    The guard reads sentences, and a single one can look like an instruction.
    """
    lines = SPENT.read_text(encoding="utf-8").splitlines()
    messages = [json.loads(line) for line in lines]
    spent = [
        (message["text"], "injection") for message in messages if message["kind"] == "injection"
    ]
    for text in (message["text"] for message in messages if message["kind"] == "benign"):
        spent += [(text[begin:end], "ordinary") for begin, end in sentences(text)]
    return spent


def samples_of(own: list[tuple[str, str]], desk: Corpus) -> list[Sample]:
    """Return the examples, the front desk's reader messages, and pasted prose.

    Only the first half of the ordinary messages is used: with all of them, fewer injections are
    found.
    """
    samples = [Sample(text, kind) for text, kind in own] * _REPEATED
    for (language, kind), texts in desk.items():
        if language not in _LANGUAGES:
            continue
        named = "ordinary" if kind == "ordinary" else "front_desk"
        most = len(texts) // 2 if kind == "ordinary" else _FROM_THE_DESK
        samples += [Sample(text, named) for text in texts[:most]]
    return [*samples, *(Sample(one.text, "ordinary") for one in prose())]


def digest(own: list[tuple[str, str]], desk: Corpus) -> str:
    """Return the SHA-256 of all examples."""
    lines = (f"{kind} {text}" for text, kind in own)
    return hashlib.sha256("\n".join((*lines, digest_of(desk))).encode()).hexdigest()


def fit() -> FittedWeights:
    own, desk, spent = read_own(), read_examples(), read_spent()
    coefficients, scale, intercepts = fit_ngrams(samples_of([*own, *spent], desk), KINDS)
    # Without the stranger's messages, so that the vectors' meaning holds for other writers too.
    hidden, output = fit_layer(samples_of(own, desk), KINDS)
    known = digest([*own, *spent], desk)
    return FittedWeights(coefficients, scale, intercepts, hidden, output, known)


def main() -> None:
    write_weights(fit(), WEIGHTS, examples=len(read_own()))


if __name__ == "__main__":
    main()
