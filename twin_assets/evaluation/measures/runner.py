"""Compute all measures of the gate, each once and in order.

Scope: computing the measures, the reasons for missing measures, reading and writing their values.
Out of scope: individual measures and the verdict (`gate.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from twin_assets.evaluation.measures import MEASURES
from twin_assets.evaluation.measures.measure import (
    Measure,
    MeasureContext,
    Measurements,
    NotMeasured,
)

if TYPE_CHECKING:
    from twin_assets.evaluation.served.base_scores import BaseScores
    from twin_assets.evaluation.served.served_answers import PromptSet
    from twin_assets.evaluation.served.served_judges import Judges


def request_base_scores(
    scores: BaseScores, prompts: PromptSet, judges: Judges, measures: Sequence[Measure[Any]]
) -> None:
    """Request the scores of the base's answers that the measures need."""
    for measure in measures:
        measure.request_base_scores(scores, prompts, judges)


def compute_measures(
    context: MeasureContext,
    measures: Sequence[Measure[Any]] = MEASURES,
    *,
    has_claims_on_request: bool = False,
) -> Measurements:
    """Compute each measure once, and keep the reason for each measure that cannot be computed."""
    why_not: dict[str, str] = {}
    values: dict[str, Any] = {}
    for measure in measures:
        value = measure.compute(context)
        if isinstance(value, NotMeasured):
            why_not |= {rule.name: value.reason for rule in measure.claims}
        elif value is not None:
            values[measure.name] = value
    return Measurements(
        values,
        has_claims_on_request,
        len(context.judging_context.writer_samples),
        why_not,
    )


def merge(earlier: Measurements, later: Measurements) -> Measurements:
    """Return the values of two stages of one gate; a measure that was taken twice counts later."""
    return Measurements(
        {**earlier.values, **later.values},
        later.has_claims_on_request,
        later.others,
        {**earlier.why_not, **later.why_not},
    )


def to_fields(measurements: Measurements) -> dict[str, Any]:
    """Return a record's fields, one per measure; None means that a measure was not taken."""
    fields: dict[str, Any] = {
        "has_claims_on_request": measurements.has_claims_on_request,
        "others": measurements.others,
        "why_not": dict(measurements.why_not),
    }
    for measure in MEASURES:
        value = measurements.get(measure)
        value_fields = None if value is None else asdict(value)
        fields |= value_fields or {} if measure.is_flat else {measure.name: value_fields}
    return fields


def from_fields(fields: Mapping[str, Any]) -> Measurements:
    """Return the inverse of `to_fields`; a measure without a field was not taken.

    Raises:
        pydantic.ValidationError: a field has an invalid value.
    """
    values: dict[str, Any] = {}
    for measure in MEASURES:
        measured_fields = fields if measure.is_flat else fields.get(measure.name)
        if measured_fields is not None:
            values[measure.name] = _adapter(measure.value_type).validate_python(measured_fields)
    fact_names = ("has_claims_on_request", "others", "why_not")
    stored_facts = {name: fields[name] for name in fact_names if name in fields}
    return _adapter(Measurements).validate_python({"values": values} | stored_facts)


@cache
def _adapter(value_type: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(value_type)
