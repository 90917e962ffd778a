"""Fit the injection guard's weights to the examples in its package.

Scope: choosing the examples of each kind.
Out of scope: the classifiers (`front_desk_weights.py`), and using the weights
(`gateway/guards/injection.py`).

    cd deploy && python -m checkout.guard_weights     # rewrites weights.npz in 3 CPU minutes
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from checkout.front_desk_weights import (
    Corpus,
    Sample,
    build_prose_samples,
    corpus_digest,
    digest_lines,
    fit_layer,
    fit_ngrams,
    read_examples,
    write_weights,
)

from twin_resources.gateway.front_desk.message_kinds import FittedWeights
from twin_resources.gateway.guards.injection import KINDS, WEIGHTS_FILE, split_sentences

EXAMPLES = WEIGHTS_FILE.with_name("examples")
# Messages by an outside writer, which were the guard's test set until we had read them and replaced
# the set.
FORMER_TEST_MESSAGES = (
    Path(__file__).resolve().parents[2] / "tests/bench/guards/strangers/messages.jsonl"
)
_OWN_EXAMPLE_REPETITIONS = 3  # because there are four times as many reader messages
_MAX_FRONT_DESK_TEXTS = 60  # per language and kind, except ordinary
_LANGUAGES = ("de", "en", "es", "fr")


def read_own_examples(folder: Path = EXAMPLES) -> list[tuple[str, str]]:
    """Return the examples as (text, kind), in the order of the files."""
    labeled_texts: list[tuple[str, str]] = []
    for file in sorted(folder.glob("*.toml")):
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        labeled_texts += [
            (text, kind) for kind in table for text in table[kind].strip().splitlines()
        ]
    return labeled_texts


def read_former_test_messages() -> list[tuple[str, str]]:
    """Return (text, kind) of each outside injection and of each sentence of the benign messages.

    The guard reads sentences, and a single sentence can look like an instruction.
    """
    lines = FORMER_TEST_MESSAGES.read_text(encoding="utf-8").splitlines()
    messages = [json.loads(line) for line in lines]
    labeled_texts = [
        (message["text"], "injection") for message in messages if message["kind"] == "injection"
    ]
    for text in (message["text"] for message in messages if message["kind"] == "benign"):
        labeled_texts += [(text[begin:end], "ordinary") for begin, end in split_sentences(text)]
    return labeled_texts


def build_samples(labeled_texts: list[tuple[str, str]], front_desk_corpus: Corpus) -> list[Sample]:
    """Return the examples, the front desk's reader messages, and pasted prose.

    Only the first half of the ordinary messages is used, because with all of them the guard misses
    more injections.
    """
    samples = [Sample(text, kind) for text, kind in labeled_texts] * _OWN_EXAMPLE_REPETITIONS
    for (language, kind), texts in front_desk_corpus.items():
        if language not in _LANGUAGES:
            continue
        label = "ordinary" if kind == "ordinary" else "front_desk"
        limit = len(texts) // 2 if kind == "ordinary" else _MAX_FRONT_DESK_TEXTS
        samples += [Sample(text, label) for text in texts[:limit]]
    return [*samples, *(Sample(sample.text, "ordinary") for sample in build_prose_samples())]


def examples_digest(labeled_texts: list[tuple[str, str]], front_desk_corpus: Corpus) -> str:
    """Return the SHA-256 of all examples."""
    lines = (f"{kind} {text}" for text, kind in labeled_texts)
    return digest_lines((*lines, corpus_digest(front_desk_corpus)))


def fit_weights() -> FittedWeights:
    """Fit the n-gram classifier and the hidden layer to the examples."""
    own_examples, front_desk_corpus = read_own_examples(), read_examples()
    all_examples = [*own_examples, *read_former_test_messages()]
    ngrams = fit_ngrams(build_samples(all_examples, front_desk_corpus), KINDS)
    # The layer generalizes better to other writers without the outside writer's messages.
    layer = fit_layer(build_samples(own_examples, front_desk_corpus), KINDS)
    return FittedWeights(*ngrams, *layer, examples_digest(all_examples, front_desk_corpus))


def main() -> None:
    """Fit the weights and write them."""
    write_weights(fit_weights(), WEIGHTS_FILE, example_count=len(read_own_examples()))


if __name__ == "__main__":
    main()
