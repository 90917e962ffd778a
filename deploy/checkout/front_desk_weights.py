"""The weights of the front desk, fitted to the examples of its package.

Belongs here: reading the examples, the variants that are made of them, the regression.
Does not belong here: using the weights (`gateway/front_desk/message_kinds.py`).

    python deploy/checkout/front_desk_weights.py        # writes weights.npz anew, in 40 CPU seconds
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twin_resources.gateway.front_desk.features import SLOTS, features
from twin_resources.gateway.front_desk.message_kinds import (
    KINDS,
    WEIGHTS,
    FittedWeights,
    MessageKind,
)

EXAMPLES = WEIGHTS.with_name("examples")
_SEED = 36
_REGULARIZATION = 3.0  # of 1, 2, 3, 5 and 10 the best on the tuned half
_VARIANT = 0.5  # weight of a variant beside the example that it is made of

Corpus = Mapping[tuple[str, MessageKind], Sequence[str]]


@dataclass(frozen=True)
class Sample:
    text: str
    kind: MessageKind
    weight: float = 1.0


def read_examples(folder: Path = EXAMPLES) -> Corpus:
    """(Language, kind) → messages, in the order of the files."""
    corpus: dict[tuple[str, MessageKind], list[str]] = {}
    for file in sorted(folder.glob("*.toml")):
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        for kind in KINDS:
            corpus[file.stem, kind] = table[kind].strip().splitlines()
    return corpus


def digest_of(corpus: Corpus) -> str:
    """SHA-256 of all examples."""
    lines = (
        f"{language} {kind} {text}" for (language, kind), texts in corpus.items() for text in texts
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def samples_of(corpus: Corpus) -> list[Sample]:
    """The examples and their variants.

    Without punctuation, since readers leave it out. Behind a greeting or an ordinary question:
    danger stays danger, a question behind a greeting is ordinary.
    """
    chance = random.Random(_SEED)
    samples: list[Sample] = []
    for (language, kind), texts in corpus.items():
        greetings, questions = corpus[language, "greeting"], corpus[language, "ordinary"]
        for text in texts:
            samples.append(Sample(text, kind))
            samples.append(Sample(re.sub(r"[?!¿¡]", "", text), kind, _VARIANT))
            greeted = f"{chance.choice(greetings)}. {text}"
            behind = f"{chance.choice(questions)} {text}"
            if kind in {"ordinary", "danger"}:
                samples.append(Sample(chance.choice((greeted, behind)), kind, _VARIANT))
            elif kind != "greeting":
                samples.append(Sample(greeted, kind, _VARIANT))
    return samples


def fit(corpus: Corpus) -> FittedWeights:
    """A multinomial logistic regression; the same examples give the same weights."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    samples = samples_of(corpus)
    filled = [features(sample.text) for sample in samples]
    ends = np.cumsum([0, *(len(slots) for slots, _ in filled)])
    matrix = csr_matrix(
        (
            np.concatenate([values for _, values in filled]),
            np.concatenate([slots for slots, _ in filled]),
            ends,
        ),
        shape=(len(samples), SLOTS),
    )
    model = LogisticRegression(C=_REGULARIZATION, max_iter=2000, tol=1e-5)
    model.fit(
        matrix,
        [KINDS.index(sample.kind) for sample in samples],
        sample_weight=[sample.weight for sample in samples],
    )
    coefficients = model.coef_.T  # (slots, kinds)
    scale = np.abs(coefficients).max(axis=0) / 127.0
    return FittedWeights(
        np.round(coefficients / scale).astype(np.int8),
        scale,
        np.asarray(model.intercept_, dtype=float),
        digest_of(corpus),
    )


def main() -> None:
    corpus = read_examples()
    weights = fit(corpus)
    np.savez_compressed(
        WEIGHTS,
        coefficients=weights.coefficients,
        scale=weights.scale,
        intercepts=weights.intercepts,
        examples=weights.examples,
    )
    count = sum(map(len, corpus.values()))
    sys.stdout.write(f"{WEIGHTS}: {WEIGHTS.stat().st_size:,} bytes of {count:,} examples\n")


if __name__ == "__main__":
    main()
