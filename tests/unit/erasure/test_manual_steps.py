"""Test the manual steps: providers that received text, own copies and published checkpoints."""

from __future__ import annotations

import json

import pytest

from tests.erasure_targets import post_target, reader_target
from twin_resources.authors import Author, write_author
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.manual_steps import ManualStep, list_manual_steps
from twin_resources.erasure.text_fingerprints import empty_fingerprints
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.known_stores import switch_store
from twin_resources.settings import Settings


def list_steps(settings: Settings, target: ErasureTarget) -> list[ManualStep]:
    return list_manual_steps(Installation.for_settings(settings), target, asked_at=0.0)


def list_providers(settings: Settings, *shown_to: str) -> list[str]:
    steps = list_steps(settings, reader_target("0123456789abcdef", shown_to=shown_to))
    return [step.what for step in steps if "provider" in step.what]


def test_the_event_bucket_and_an_earlier_langfuse_are_named(home: Settings) -> None:
    """Langfuse keeps each raw upload in its event bucket after it has deleted the trace."""
    keys = {"langfuse_public_key": "pk", "langfuse_secret_key": "sk"}
    langfuse = home.model_copy(update={"langfuse_host": "https://new.example", **keys})
    installation = Installation.for_settings(langfuse)
    ledger_tables.open_tables(installation.state)
    stores = (
        "the embedded trace store 1234",
        "https://old.example, project p1",
        "https://new.example, project p2",
    )
    with installation.state.transaction() as connection:
        for moment, store in enumerate(stores):
            switch_store(connection, store, now_ms=moment)
    steps = {step.what: step.how for step in list_steps(langfuse, reader_target("0" * 16))}
    assert "event bucket of Langfuse at https://new.example, prefix events/otel/" in " ".join(steps)
    [earlier] = [how for what, how in steps.items() if "https://old.example, project p1" in what]
    assert "events/otel/" in earlier
    assert not any("1234" in what for what in steps)  # its file is in the home, and is erased


def test_a_provider_is_named_with_its_number_of_answers(home: Settings) -> None:
    paid = home.model_copy(update={"paid_model": "openai/gpt-4o-mini", "judge_model": "x/judge"})
    traces = ("openai/gpt-4o-mini t1", "openai/gpt-4o-mini t2", "old/one t3")
    assert list_providers(paid, *traces) == [
        "the provider of old/one (1 of these traces were its answers)",  # no longer in the settings
        "the provider of openai/gpt-4o-mini (2 of these traces were its answers)",
        "the provider of x/judge",
    ]
    assert list_providers(home) == []


@pytest.mark.parametrize(
    ("subject", "is_named"),
    [
        (ErasureSubject("post", "ann", "d1"), True),
        (ErasureSubject("post", "bob", "d1"), False),  # has no source
        (ErasureSubject("reader", "", "0123456789abcdef"), False),
    ],
)
def test_the_authors_own_copy_is_named_if_there_is_a_source(
    home: Settings, subject: ErasureSubject, is_named: bool
) -> None:
    write_author(home, Author("ann", "Ann Bell", sources=("posts",)))
    write_author(home, Author("bob", "Bob Bell"))
    steps = list_steps(home, ErasureTarget(subject))
    assert any("own copy" in step.what for step in steps) == is_named


def test_a_plan_of_an_earlier_release_names_no_provider() -> None:
    target = reader_target("0123456789abcdef", shown_to=["m t"])
    older_plan = json.loads(target.to_json())
    del older_plan["shown_to"]
    for document, shown_to in ((target.to_json(), {"m t"}), (json.dumps(older_plan), set())):
        restored = ErasureTarget.from_json(target.subject, document, empty_fingerprints())
        assert restored.shown_to == shown_to


def test_the_checkpoints_of_copied_adapters_are_named(home: Settings) -> None:
    target = post_target("ann", "d1", checkpoints=frozenset({"c2", "c1"}))
    [instruction] = [step.how for step in list_steps(home, target) if "hub" in step.what]
    assert instruction == "delete them there: c1, c2"
