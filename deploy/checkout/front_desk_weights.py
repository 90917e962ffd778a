"""Fit the front desk's weights, for kinds of messages and for talk, to the examples in its package.

cd deploy && python -m checkout.front_desk_weights          # weights.npz, in 8 CPU minutes
cd deploy && python -m checkout.front_desk_weights talk     # rewriting_weights.npz, in 2
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
import tomllib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from twin_resources.gateway.front_desk import rewriting_requests
from twin_resources.gateway.front_desk.features import BUCKET_COUNT, ngram_features
from twin_resources.gateway.front_desk.message_kinds import (
    KINDS,
    PART_CHARACTERS,
    SENTENCE_END,
    WEIGHTS_FILE,
    FittedWeights,
    MessageKind,
    split_parts,
)
from twin_resources.gateway.front_desk.message_vectors import embed_message
from twin_resources.quality.judges.texts import bundled_writers

EXAMPLES = WEIGHTS_FILE.with_name("examples")
_SEED = 36
_REGULARIZATION = 3.0  # the best of 1, 2, 3, 5 and 10 on the half used for tuning
_HIDDEN_UNITS, _MAX_ITERATIONS = 64, 40
# Decays of .3, 1 and 4 were compared in five folds grouped by meaning. They miss 35, 33 and 37 % of
# the danger when 1 % of the ordinary examples are classified as danger. Three networks depend less
# on the seeds than one network, and seven are no better than three. Neither adding noise to the
# vectors nor interpolating between them helped.
_WEIGHT_DECAY, _NETWORK_COUNT = 1.0, 3
_PROSE_PAIR_COUNT = 800
_VARIANT_WEIGHT = 0.5  # weight of a variant relative to its example
_VECTOR_VARIANT_INTERVAL = 3  # one in three variants gets a vector
_TALK_REPETITIONS = 4  # because there are four times as many other messages
_MAX_TALK_ORDINARY, _MAX_TALK_OTHER = 200, 20  # messages per language and kind
_GREETING_COUNT, _QUESTION_COUNT = 30, 300  # the first messages, combined with other messages

Corpus = Mapping[tuple[str, MessageKind], Sequence[str]]


@dataclass(frozen=True)
class Sample:
    """A training message with its kind and weight."""

    text: str
    kind: str
    weight: float = 1.0


def read_examples(folder: Path = EXAMPLES) -> Corpus:
    """Return the messages by (language, kind), in the order of the files."""
    corpus: dict[tuple[str, MessageKind], list[str]] = {}
    for file in sorted(folder.glob("*.toml")):
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        for kind in KINDS:
            corpus[file.stem, kind] = table[kind].strip().splitlines()
    return corpus


def corpus_digest(corpus: Corpus) -> str:
    """Return the SHA-256 of all examples."""
    return digest_lines(
        f"{language} {kind} {text}" for (language, kind), texts in corpus.items() for text in texts
    )


def digest_lines(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines of text."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def build_samples(corpus: Corpus, *, for_vectors: bool = False) -> list[Sample]:
    """Return the examples and their variants.

    A variant lacks punctuation, because readers often omit it, or adds a greeting or an ordinary
    question. Danger remains danger. A question after a greeting is ordinary, as is each part of an
    ordinary message. Variants are drawn per text, so a new example changes no other variants.

    Args:
        for_vectors: whether to omit the variants without punctuation and most others, because a
            vector costs 30 CPU-ms. One in three is kept, for danger and ordinary messages only.
    """
    samples: list[Sample] = []
    for (language, kind), texts in corpus.items():
        greetings = corpus[language, "greeting"][:_GREETING_COUNT]
        questions = corpus[language, "ordinary"][:_QUESTION_COUNT]
        for text in texts:
            random_generator = random.Random(f"{_SEED} {text}")
            samples.append(Sample(text, kind))
            if kind == "ordinary":
                samples += [Sample(part, kind, _VARIANT_WEIGHT) for part in split_parts(text)]
            if for_vectors and (
                kind not in {"danger", "ordinary"}
                or random_generator.randrange(_VECTOR_VARIANT_INTERVAL)
            ):
                continue
            if not for_vectors:
                samples.append(Sample(re.sub(r"[?!¿¡]", "", text), kind, _VARIANT_WEIGHT))
            greeted_text = f"{random_generator.choice(greetings)}. {text}"
            message_pair = [text, random_generator.choice(questions)]
            random_generator.shuffle(message_pair)
            combined_text = random_generator.choice((" ", ". ", "\n")).join(message_pair)
            if kind == "danger":
                samples.append(Sample(combined_text, kind, _VARIANT_WEIGHT))
            elif kind == "ordinary":
                variant = random_generator.choice((greeted_text, combined_text))
                samples.append(Sample(variant, kind, _VARIANT_WEIGHT))
            elif kind != "greeting":
                samples.append(Sample(greeted_text, kind, _VARIANT_WEIGHT))
    return samples


def build_prose_samples() -> list[Sample]:
    """Return sentence pairs of the bundled authors, because pasted text is an ordinary message."""
    passages = [text for author in bundled_writers(exclude=[]) for _, text in author.passages]
    sentences = [part for text in passages for part in SENTENCE_END.split(text) if part]
    starts = random.Random(_SEED).sample(range(len(sentences) - 1), _PROSE_PAIR_COUNT)
    pairs = [" ".join(sentences[start : start + 2])[:PART_CHARACTERS] for start in starts]
    return [Sample(pair, "ordinary", _VARIANT_WEIGHT) for pair in pairs]


def fit_weights(corpus: Corpus) -> FittedWeights:
    """Fit a logistic regression to the n-grams and a hidden layer to the vectors."""
    pasted_samples = build_prose_samples()
    coefficients, scale, intercepts = fit_ngrams([*build_samples(corpus), *pasted_samples])
    vector_samples = [*build_samples(corpus, for_vectors=True), *pasted_samples]
    hidden, output = fit_layer(
        vector_samples, weight_decay=_WEIGHT_DECAY, network_count=_NETWORK_COUNT
    )
    return FittedWeights(coefficients, scale, intercepts, hidden, output, corpus_digest(corpus))


def fit_ngrams(
    samples: Sequence[Sample], kinds: Sequence[str] = KINDS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a multinomial logistic regression to the n-grams.

    Returns:
        The coefficients, scale and intercepts of `FittedWeights`.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    sample_features = [ngram_features(sample.text) for sample in samples]
    row_offsets = np.cumsum([0, *(len(buckets) for buckets, _ in sample_features)])
    matrix = csr_matrix(
        (
            np.concatenate([values for _, values in sample_features]),
            np.concatenate([buckets for buckets, _ in sample_features]),
            row_offsets,
        ),
        shape=(len(samples), BUCKET_COUNT),
    )
    model = LogisticRegression(C=_REGULARIZATION, max_iter=2000, tol=1e-5)
    model.fit(
        matrix,
        [kinds.index(sample.kind) for sample in samples],
        sample_weight=[sample.weight for sample in samples],
    )
    coefficients = model.coef_.T  # (buckets, kinds)
    scale = np.abs(coefficients).max(axis=0) / 127.0
    quantized_coefficients = np.round(coefficients / scale).astype(np.int8)
    return quantized_coefficients, scale, np.asarray(model.intercept_, dtype=float)


def build_talk_samples() -> list[Sample]:
    """Return the messages about the conversation, similar ordinary ones, and other messages."""
    samples: list[Sample] = []
    for file in sorted(EXAMPLES.glob("*.toml")):
        for kind, text_block in tomllib.loads(file.read_text(encoding="utf-8")).items():
            texts = text_block.strip().splitlines()
            if kind.removeprefix("near_") in {"rewriting", "talk"}:
                label = "ordinary" if kind.startswith("near_") else kind
                texts *= _TALK_REPETITIONS
            elif kind == "ordinary":
                label, texts = kind, texts[:_MAX_TALK_ORDINARY]
            else:
                label, texts = "front_desk", texts[:_MAX_TALK_OTHER]
            samples += [Sample(text, label) for text in texts]
    return samples


def fit_layer(
    samples: Sequence[Sample],
    kinds: Sequence[str] = KINDS,
    *,
    weight_decay: float = 1.0,
    network_count: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit networks of one hidden layer to the messages' vectors and stack them.

    Returns:
        `hidden` and `output` of `FittedWeights` (float16). They include the normalization of the
        vectors and the averaging of the networks' scores.
    """
    from sklearn.neural_network import MLPClassifier

    vector_by_text = {
        text: embed_message(text) for text in dict.fromkeys(sample.text for sample in samples)
    }
    vectors = np.stack([vector_by_text[sample.text] for sample in samples])
    mean = vectors.mean(axis=0)
    standard_deviation = float((vectors - mean).std())
    labels = [kinds.index(sample.kind) for sample in samples]
    hidden, output, bias = [], [], np.zeros(len(kinds))
    for number in range(network_count):
        model = MLPClassifier(
            (_HIDDEN_UNITS,),
            alpha=weight_decay,
            max_iter=_MAX_ITERATIONS,
            tol=0.0,
            random_state=_SEED + number,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # _MAX_ITERATIONS ends the fit
            model.fit((vectors - mean) / standard_deviation, labels)
        (input_weights, output_weights), (input_bias, output_bias) = model.coefs_, model.intercepts_
        shifted_bias = input_bias - mean @ input_weights / standard_deviation
        hidden.append(np.vstack([input_weights / standard_deviation, shifted_bias]))
        output.append(output_weights / network_count)
        bias += output_bias / network_count
    return np.hstack(hidden).astype(np.float16), np.vstack([*output, bias]).astype(np.float16)


def main() -> None:
    """Fit the weights and write them."""
    if sys.argv[1:] == ["talk"]:
        samples = build_talk_samples()
        ngrams = fit_ngrams(samples, rewriting_requests.KINDS)
        layer = fit_layer(samples, rewriting_requests.KINDS)
        weights = FittedWeights(*ngrams, *layer, samples_digest(samples))
        write_weights(weights, rewriting_requests.WEIGHTS_FILE, example_count=len(samples))
        return
    corpus = read_examples()
    count = sum(map(len, corpus.values()))
    write_weights(fit_weights(corpus), WEIGHTS_FILE, example_count=count)


def samples_digest(samples: Sequence[Sample]) -> str:
    """Return the SHA-256 of all examples."""
    return digest_lines(f"{sample.kind} {sample.text}" for sample in samples)


def write_weights(weights: FittedWeights, file: Path, *, example_count: int) -> None:
    """Write the weights for `message_kinds.read_weights` and print their size."""
    arrays = dict(vars(weights))
    arrays["examples"] = arrays.pop("examples_digest")  # its name in the file
    np.savez_compressed(file, **arrays)
    sys.stdout.write(
        f"{file}: {file.stat().st_size:,} bytes, fitted to {example_count:,} examples\n"
    )


if __name__ == "__main__":
    main()
