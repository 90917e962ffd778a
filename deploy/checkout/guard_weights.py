"""Fit the weights of the injection guard to the examples of its package.

Scope: the texts that are examples of each kind.
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
    build_prose_samples,
    corpus_digest,
    fit_layer,
    fit_ngrams,
    read_examples,
    write_weights,
)

from twin_resources.gateway.front_desk.message_kinds import FittedWeights
from twin_resources.gateway.guards.injection import KINDS, WEIGHTS, split_sentences

EXAMPLES = WEIGHTS.with_name("examples")
# A stranger's messages that tested the guard until they had been read; a different set tests it
# now.
FORMER_TEST_MESSAGES = (
    Path(__file__).resolve().parents[2] / "tests/bench/guards/strangers/messages.jsonl"
)
_OWN_EXAMPLE_REPETITIONS = 3  # because there are four times as many readers' messages
_MAX_FRONT_DESK_TEXTS = 60  # per language and kind, except ordinary
_LANGUAGES = ("de", "en", "es", "fr")


def read_own_examples(folder: Path = EXAMPLES) -> list[tuple[str, str]]:
    """Return (text, kind), in the order of the files."""
    labelled_texts: list[tuple[str, str]] = []
    for file in sorted(folder.glob("*.toml")):
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        labelled_texts += [
            (text, kind) for kind in table for text in table[kind].strip().splitlines()
        ]
    return labelled_texts


def read_former_test_messages() -> list[tuple[str, str]]:
    """Return (text, kind) of the stranger's instructions and of each sentence of the ordinary ones.

    The guard reads sentences, and a single one can look like an instruction.
    """
    lines = FORMER_TEST_MESSAGES.read_text(encoding="utf-8").splitlines()
    messages = [json.loads(line) for line in lines]
    labelled_texts = [
        (message["text"], "injection") for message in messages if message["kind"] == "injection"
    ]
    for text in (message["text"] for message in messages if message["kind"] == "benign"):
        labelled_texts += [(text[begin:end], "ordinary") for begin, end in split_sentences(text)]
    return labelled_texts


def build_samples(labelled_texts: list[tuple[str, str]], front_desk_corpus: Corpus) -> list[Sample]:
    """Return the examples, the front desk's reader messages, and pasted prose.

    Only the first half of the ordinary messages is used: with all of them, fewer injections are
    found.
    """
    samples = [Sample(text, kind) for text, kind in labelled_texts] * _OWN_EXAMPLE_REPETITIONS
    for (language, kind), texts in front_desk_corpus.items():
        if language not in _LANGUAGES:
            continue
        label = "ordinary" if kind == "ordinary" else "front_desk"
        limit = len(texts) // 2 if kind == "ordinary" else _MAX_FRONT_DESK_TEXTS
        samples += [Sample(text, label) for text in texts[:limit]]
    return [*samples, *(Sample(one.text, "ordinary") for one in build_prose_samples())]


def examples_digest(labelled_texts: list[tuple[str, str]], front_desk_corpus: Corpus) -> str:
    """Return the SHA-256 of all examples."""
    lines = (f"{kind} {text}" for text, kind in labelled_texts)
    return hashlib.sha256(
        "\n".join((*lines, corpus_digest(front_desk_corpus))).encode()
    ).hexdigest()


def fit_weights() -> FittedWeights:
    own_texts, front_desk_corpus, former_test_texts = (
        read_own_examples(),
        read_examples(),
        read_former_test_messages(),
    )
    coefficients, scale, intercepts = fit_ngrams(
        build_samples([*own_texts, *former_test_texts], front_desk_corpus), KINDS
    )
    # Without the stranger's messages, so that the layer also generalizes to other writers.
    hidden, output = fit_layer(build_samples(own_texts, front_desk_corpus), KINDS)
    digest_hex = examples_digest([*own_texts, *former_test_texts], front_desk_corpus)
    return FittedWeights(coefficients, scale, intercepts, hidden, output, digest_hex)


def main() -> None:
    write_weights(fit_weights(), WEIGHTS, examples=len(read_own_examples()))


if __name__ == "__main__":
    main()
