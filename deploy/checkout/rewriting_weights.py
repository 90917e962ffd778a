"""Fit the weights that recognize a request to rewrite an earlier answer.

Scope: choosing the examples.
Out of scope: the classifiers (`front_desk_weights.py`), and using the weights
(`gateway/front_desk/rewriting_requests.py`).

    cd deploy && python -m checkout.rewriting_weights     # rewrites the weights in 2 CPU minutes
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence

from checkout.front_desk_weights import (
    EXAMPLES,
    Sample,
    digest_lines,
    fit_layer,
    fit_ngrams,
    write_weights,
)

from twin_resources.gateway.front_desk.message_kinds import FittedWeights
from twin_resources.gateway.front_desk.rewriting_requests import KINDS, WEIGHTS_FILE

_OWN_EXAMPLE_REPETITIONS = 4  # because there are four times as many other messages
_MAX_ORDINARY, _MAX_OTHER = 200, 20  # messages per language and kind


def build_samples() -> list[Sample]:
    """Return the requests, similar ordinary messages, and messages of the front desk's kinds."""
    samples: list[Sample] = []
    for file in sorted(EXAMPLES.glob("*.toml")):
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        for kind, text_block in table.items():
            texts = text_block.strip().splitlines()
            if kind in {"rewriting", "near_rewriting"}:
                label = "rewriting" if kind == "rewriting" else "ordinary"
                texts *= _OWN_EXAMPLE_REPETITIONS
            elif kind == "ordinary":
                label, texts = kind, texts[:_MAX_ORDINARY]
            else:
                label, texts = "front_desk", texts[:_MAX_OTHER]
            samples += [Sample(text, label) for text in texts]
    return samples


def samples_digest(samples: Sequence[Sample]) -> str:
    """Return the SHA-256 of all examples."""
    return digest_lines(f"{sample.kind} {sample.text}" for sample in samples)


def fit_weights() -> FittedWeights:
    """Fit the n-gram classifier and the hidden layer to the examples."""
    samples = build_samples()
    ngrams, layer = fit_ngrams(samples, KINDS), fit_layer(samples, KINDS)
    return FittedWeights(*ngrams, *layer, samples_digest(samples))


def main() -> None:
    """Fit the weights and write them."""
    write_weights(fit_weights(), WEIGHTS_FILE, example_count=len(build_samples()))


if __name__ == "__main__":
    main()
