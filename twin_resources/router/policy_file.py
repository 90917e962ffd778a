"""Read and write the file of an author's fitted policy, which the gateway rereads on change.

Scope: its dataclass and its format (NumPy's .npz, without pickle).
Out of scope: fitting, deciding (`routing_decision.py`), watching the file
(`gateway/config/live_config.py`).

The file contains vectors, features and ids of the labels' questions, but no text. The ids are
stored in plain form, so that erasure finds a reader's trace and deletes the whole file. No question
is then routed until `routing_policy` is rebuilt without that label.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Each member of the
archive has a checksum, so an incomplete file is detected.
"""
# pyright: strict

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError, check_schema
from twin_resources.router.class_table import ClassGain
from twin_resources.router.features import FeatureScale, Floats
from twin_resources.router.fixed_sequence import PriceStep, choose_models
from twin_resources.router.gain import GainModel

SCHEMA_VERSION = 1
SUFFIX = ".npz"
_READ_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class PricedModel:
    """A model that may answer.

    Attributes:
        name: the name in routes: `own`, `paid` ….
        model: the checkpoint of the home's version, or the LiteLLM name of a paid model.
        usd_per_million_prompt, usd_per_million_answer: the prices of tokens, in US dollars.
        usd: the mean price of the labels' answers, in US dollars.
    """

    name: str
    model: str
    usd_per_million_prompt: float
    usd_per_million_answer: float
    usd: float


@dataclass(frozen=True)
class RoutingPolicy:
    """A fitted policy that the gateway uses to route an author's questions.

    Attributes:
        author: the author's slug.
        models: the models in ascending order of price, the home's model first.
        embedder: the revision of the embedder. Vectors from another embedder are not scored.
        judges: the `name@revision` of the judges whose scores give the gains.
        margin: the maximum loss against the most expensive model.
        scale: the scale of the features.
        gain: predicts the gains over the home's model.
        steps: the operating points in the fixed order.
        active_step_index: the index of the certified step in use.
        label_ids: the ids of the labels, in order of arrival.
        gains, cross_fitted: the labels' measured and cross-fitted gains, shape (n, models − 1).
        usd: the cost of the most expensive model's answer for each label, in US dollars, shape
            (n,).
        classes: the table of gains by class.
        last_sequence: the sequence number of the newest fitted label.
        written_at: ISO 8601, UTC.
    """

    author: str
    models: tuple[PricedModel, ...]
    embedder: str
    judges: tuple[str, ...]
    margin: float
    scale: FeatureScale
    gain: GainModel = field(repr=False)
    steps: tuple[PriceStep, ...] = field(repr=False)
    active_step_index: int
    label_ids: tuple[str, ...] = field(repr=False)
    gains: Floats = field(repr=False)
    cross_fitted: Floats = field(repr=False)
    usd: Floats = field(repr=False)
    classes: tuple[ClassGain, ...] = ()
    last_sequence: int = 0
    written_at: str = ""

    @property
    def step(self) -> PriceStep:
        """The operating point in force."""
        return self.steps[self.active_step_index]

    @property
    def prices(self) -> Floats:
        """Mean US dollars per answer, by model."""
        return np.asarray([model.usd for model in self.models], np.float64)

    @property
    def avoided_usd(self) -> Floats:
        """Cost in US dollars of the most expensive model, for labels that the step gives to others.

        These questions are not a random sample: their answers are often shorter.
        """
        models = choose_models(self.cross_fitted, self.prices, self.step.weight)
        return self.usd[models < len(self.models) - 1]


def policy_path(home: Path, author: str) -> Path:
    """Return the path of an author's fitted policy: `<home>/routing/<author>.npz`."""
    return home / "routing" / f"{author}{SUFFIX}"


def write_routing_policy(path: Path, policy: RoutingPolicy) -> None:
    """Write the file atomically, so a reader never sees a partial file."""
    header = {
        "schema": SCHEMA_VERSION,
        "author": policy.author,
        "models": [asdict(model) for model in policy.models],
        "embedder": policy.embedder,
        "judges": list(policy.judges),
        "margin": policy.margin,
        "scale": asdict(policy.scale),
        "ridge": policy.gain.ridge,
        # JSON has no infinity, which is the first step's weight.
        "steps": [asdict(step) | {"weight": repr(step.weight)} for step in policy.steps],
        "in_force": policy.active_step_index,
        "label_ids": list(policy.label_ids),
        "classes": [asdict(row) for row in policy.classes],
        "last_sequence": policy.last_sequence,
        "written_at": policy.written_at,
    }
    stream = io.BytesIO()
    np.savez(
        stream,
        head=np.frombuffer(json.dumps(header, allow_nan=False).encode(), np.uint8),
        rows=policy.gain.rows,
        weights=policy.gain.weights,
        gains=policy.gains,
        cross_fitted=policy.cross_fitted,
        usd=policy.usd,
    )
    replace_file(path, stream.getvalue())


def read_routing_policy(path: Path) -> RoutingPolicy:
    """Read an author's fitted policy.

    Raises:
        TwinError: the file is missing, incomplete, or written by a newer release.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
        header = cast("dict[str, Any]", json.loads(bytes(arrays["head"]).decode()))
        check_schema(f"read the routing policy {path}", int(header["schema"]), SCHEMA_VERSION)
        return _policy_from_arrays(header, arrays)
    except _READ_ERRORS as error:
        raise TwinError(
            f"read the routing policy {path}",
            found=f"{type(error).__name__}: {error}",
            next_step="materialize `routing_policy`: it writes the file again from the labels",
        ) from error


def _policy_from_arrays(header: dict[str, Any], arrays: dict[str, Any]) -> RoutingPolicy:
    step_documents = cast("list[dict[str, Any]]", header["steps"])
    for document in step_documents:
        document["weight"] = float(document["weight"])
    steps = tuple(PriceStep(**document) for document in step_documents)
    active_index = int(header["in_force"])
    if not 0 <= active_index < len(steps) or math.isnan(steps[active_index].weight):
        raise ValueError(f"the step in force is {active_index}, which is not one of {len(steps)}")
    return RoutingPolicy(
        author=header["author"],
        models=tuple(PricedModel(**model) for model in header["models"]),
        embedder=header["embedder"],
        judges=tuple(header["judges"]),
        margin=header["margin"],
        scale=FeatureScale(**header["scale"]),
        gain=GainModel(arrays["rows"], arrays["weights"], header["ridge"]),
        steps=steps,
        active_step_index=active_index,
        label_ids=tuple(header["label_ids"]),
        gains=arrays["gains"],
        cross_fitted=arrays["cross_fitted"],
        usd=arrays["usd"],
        classes=tuple(ClassGain(**row) for row in header["classes"]),
        last_sequence=header["last_sequence"],
        written_at=header["written_at"],
    )
