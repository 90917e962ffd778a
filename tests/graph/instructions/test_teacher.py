"""Test a teacher that writes the dataset's questions over HTTP and fails as real teachers do.

The answers remain the author's text, a bad reply affects one sample, and nothing is paid twice.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest

from tests.graph.instructions import teacher_server as fake
from tests.graph.instructions.conftest import ADA, Graph
from tests.graph.instructions.generated_posts import build_documents, build_post, store_documents
from tests.graph.instructions.teacher_server import TeacherServer, start_teacher_server
from twin_assets.instructions.dataset_building import update_dataset
from twin_assets.instructions.teacher import Teacher, TeacherPrompt
from twin_assets.instructions.teacher_questions import TeacherResult, count_pending_questions
from twin_resources.access.account import SpendingAccount
from twin_resources.access.purpose_budget import PurposeBudget
from twin_resources.access.spending_limits import SpendingLimit, SpendingLimits
from twin_resources.errors import TwinError
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import SyncResult, Tables

UNPRICED, PRICED = "openai/teacher", "openai/gpt-4o-mini"
REPLY_USD = (fake.PROMPT_TOKENS * 0.15 + fake.ANSWER_TOKENS * 0.6) / 1e6


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    with start_teacher_server() as running:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
        monkeypatch.setenv("OPENAI_API_BASE", running.url)
        yield running


@pytest.fixture
def state(tables: Tables) -> State:
    return tables.state


def create_budget(state: State, usd_per_month: float) -> PurposeBudget:
    limits = SpendingLimits(purposes={"teacher": SpendingLimit(usd_per_month=usd_per_month)})
    return PurposeBudget(SpendingAccount(state, limits), "teacher", author="ada")


def create_teacher(model: str = UNPRICED, budget: PurposeBudget | None = None) -> Teacher:
    return Teacher(model, budget=budget, first_pause_s=0.01)


def get_usage(result: tuple[SyncResult, TeacherResult | None]) -> TeacherResult:
    assert result[1] is not None
    return result[1]


def count_sources(tables: Tables) -> Counter[str]:
    rows = tables.read("instruction_dataset", "ada", columns=["instruction_source"])
    return Counter(source.split(":")[0] for source in rows["instruction_source"])


def test_a_teacher_writes_only_questions(
    retriever: Retriever, tables: Tables, server: TeacherServer
) -> None:
    by_template = tables.read("instruction_dataset", "ada")
    log_lines: list[str] = []
    result = update_dataset(
        tables, ADA, retriever=retriever, teacher=create_teacher(), log=log_lines.append
    )
    rows = tables.read("instruction_dataset", "ada")
    assert rows["answer"].equals(by_template["answer"])
    assert set(rows["instruction_source"]) == {"teacher:openai/teacher"}
    assert all(question.startswith("What happens to the ") for question in rows["question"])
    assert sorted(server.passages) == sorted(rows["answer"])
    assert get_usage(result).requests == rows.height
    assert get_usage(result).outcomes == {"written": rows.height}
    assert get_usage(result).prompt_tokens == rows.height * fake.PROMPT_TOKENS
    assert log_lines
    assert not any(answer[:20] in line for line in log_lines for answer in rows["answer"])

    second_result = update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    assert len(server.passages) == rows.height  # Paid questions are not requested again.
    assert get_usage(second_result).requests == 0
    assert second_result[0].data_version == result[0].data_version

    update_dataset(tables, ADA, retriever=retriever)
    assert tables.read("instruction_dataset", "ada").equals(by_template)


@pytest.mark.long
def test_only_edited_passages_are_requested_again(
    retriever: Retriever, tables: Tables, server: TeacherServer, graph: Graph
) -> None:
    update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    server.passages.clear()
    sentence = "A new sentence about a winch that nobody has turned since the year of the storm. "
    paragraphs = build_post(3).split("\n\n")
    paragraphs[1] = "\n\n".join([sentence * 4, paragraphs[1]])
    store_documents(tables, build_documents(range(12), doc_3="\n\n".join(paragraphs)))
    graph.execute(_select_chunks_and_vectors())
    update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    assert server.passages == [(sentence * 4).strip()]


def _select_chunks_and_vectors() -> dg.AssetSelection:
    return dg.AssetSelection.assets("embeddings")


OUTCOMES = {
    fake.NO_CHOICES: ("unusable", 3),
    fake.EMPTY: ("unusable", 3),
    fake.LONG: ("unusable", 3),
    fake.NULL_CHOICES: ("failed", 3),
    fake.HTML: ("failed", 3),
    fake.TRUNCATED: ("failed", 3),
    "429": ("failed", 3),
    "500": ("failed", 3),
    "400": ("failed", 1),  # The same request would be refused again.
}


@pytest.mark.long
def test_a_bad_reply_affects_one_sample(
    retriever: Retriever, tables: Tables, server: TeacherServer
) -> None:
    answers = tables.read("instruction_dataset", "ada", columns=["answer"])["answer"].to_list()
    step = len(answers) // len(OUTCOMES)
    faults = {answers[step * position]: behavior for position, behavior in enumerate(OUTCOMES)}
    server.behavior = lambda passage, _count: faults.get(passage, fake.OK)
    result = update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())

    rows = tables.read("instruction_dataset", "ada")
    assert count_sources(tables) == {"teacher": len(answers) - len(faults), "template": len(faults)}
    template_rows = rows.filter(pl.col("instruction_source").str.starts_with("template:"))
    assert set(template_rows["answer"]) == set(faults)
    replies = tables.read("teacher_questions", "ada").join(
        rows.select("sample_id", "answer"), on="sample_id"
    )
    for answer, outcome, tries in replies.select("answer", "outcome", "tries").iter_rows():
        assert (outcome, tries) == OUTCOMES.get(faults.get(answer, ""), ("written", 1)), faults.get(
            answer
        )
    expected = Counter(outcome for outcome, _ in OUTCOMES.values())
    assert get_usage(result).outcomes == dict(expected | {"written": len(answers) - len(faults)})
    rate_limited = next(answer for answer, behavior in faults.items() if behavior == "429")
    times = [
        time_s for passage, time_s in zip(server.passages, server.request_times, strict=True)
        if passage == rate_limited
    ]  # fmt: skip
    assert times[1] - times[0] > 0.9  # the delay that the server requested

    server.behavior = lambda _passage, _count: fake.OK
    server.passages.clear()
    update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    failed_answers = {
        answer for answer, behavior in faults.items() if OUTCOMES[behavior][0] == "failed"
    }
    assert set(server.passages) == failed_answers  # Only failed requests are repeated.
    assert count_sources(tables)["template"] == len(faults) - len(failed_answers)


@pytest.mark.long
def test_a_second_try_can_succeed(
    retriever: Retriever, tables: Tables, server: TeacherServer
) -> None:
    replies = [fake.NO_CHOICES, "503", fake.EMPTY, "429"]
    server.behavior = lambda passage, count: fake.OK if count else replies[len(passage) % 3]
    result = update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    rows = tables.read("instruction_dataset", "ada").height
    assert get_usage(result).outcomes == {"written": rows}
    assert get_usage(result).requests == 2 * rows


def test_the_budget_is_never_exceeded(
    retriever: Retriever, tables: Tables, server: TeacherServer, state: State
) -> None:
    rows = tables.read("instruction_dataset", "ada").height
    limit = 10 * REPLY_USD
    budget = create_budget(state, limit)
    result = update_dataset(
        tables, ADA, retriever=retriever, teacher=create_teacher(PRICED, budget)
    )
    usage = get_usage(result)
    written_count = usage.outcomes["written"]
    assert 3 <= written_count <= 10
    assert usage.outcomes == {"written": written_count, "over_budget": rows - written_count}
    assert usage.usd == usage.usd_in_all == pytest.approx(written_count * REPLY_USD, abs=1e-6)
    assert usage.budget_left == pytest.approx(limit - written_count * REPLY_USD, abs=1e-6)
    assert len(server.passages) == written_count
    assert count_sources(tables) == {"teacher": written_count, "template": rows - written_count}

    larger_budget = create_budget(state, 1.0)  # Earlier spending counts.
    assert larger_budget.remaining_usd() == pytest.approx(1.0 - written_count * REPLY_USD)
    result = update_dataset(
        tables, ADA, retriever=retriever, teacher=create_teacher(PRICED, larger_budget)
    )
    assert get_usage(result).outcomes == {"written": rows}
    assert len(server.passages) == rows
    assert get_usage(result).usd == pytest.approx((rows - written_count) * REPLY_USD, abs=1e-6)
    assert get_usage(result).usd_in_all == pytest.approx(rows * REPLY_USD, abs=1e-6)


def test_unusable_replies_are_charged(server: TeacherServer, state: State) -> None:
    budget = create_budget(state, 1.0)
    kinds = {"a": fake.EMPTY, "b": fake.HANG, "c": "500"}
    server.behavior = lambda passage, _count: kinds[passage.split()[0]]
    prompts = [TeacherPrompt("", f"{kind} harbour made of granite and oak") for kind in kinds]
    empty, failed = create_teacher(PRICED, budget).ask([prompts[0], prompts[2]])
    impatient = Teacher(PRICED, budget=budget, first_pause_s=0.01, timeout_s=fake.HANG_S / 4)
    [late] = impatient.ask([prompts[1]])
    assert (empty.outcome, empty.usd) == ("unusable", pytest.approx(3 * REPLY_USD))
    assert (late.outcome, late.reason) == ("failed", "Timeout")
    assert late.usd > 3 * REPLY_USD  # The maximum is charged, because the cost is unknown.
    assert (failed.outcome, failed.usd) == ("failed", 0.0)
    assert budget.remaining_usd() == pytest.approx(1.0 - empty.usd - late.usd)


def test_a_priced_teacher_needs_a_budget_and_a_budget_a_price(
    server: TeacherServer, state: State
) -> None:
    prompts = [TeacherPrompt("Granite", "The quarry gave the town its granite.")]
    with pytest.raises(TwinError, match="TWIN_TEACHER_BUDGET_PER_MONTH"):
        create_teacher(PRICED).ask(prompts)
    with pytest.raises(TwinError, match="no price"):
        create_teacher(UNPRICED, create_budget(state, 1.0)).ask(prompts)
    assert server.passages == []
    assert create_teacher(UNPRICED).ask(prompts)[0].outcome == "written"


@pytest.mark.long
@pytest.mark.parametrize(("status", "max_requests"), [("401", 4), ("404", 4), ("500", 36)])
def test_a_teacher_that_refuses_every_request_is_abandoned(
    retriever: Retriever, tables: Tables, server: TeacherServer, status: str, max_requests: int
) -> None:
    server.behavior = lambda _passage, _count: status
    with pytest.raises(TwinError, match="TWIN_TEACHER_MODEL"):
        update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    assert 0 < len(server.passages) <= max_requests
    server.behavior = lambda _passage, _count: fake.OK
    update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    assert count_sources(tables).keys() == {"teacher"}


@pytest.mark.long
def test_a_teacher_with_only_unusable_replies_is_abandoned(
    retriever: Retriever, tables: Tables, server: TeacherServer, state: State
) -> None:
    rows = tables.read("instruction_dataset", "ada").height
    server.behavior = lambda _passage, _count: fake.EMPTY
    budget = create_budget(state, 1.0)
    with pytest.raises(TwinError, match="40 samples in a row without a usable question"):
        update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher(PRICED, budget))
    assert 3 * 40 <= len(server.passages) <= 3 * 43 < 3 * rows  # Four requests run at once.
    server.behavior = lambda _passage, _count: fake.OK
    server.passages.clear()
    update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher(PRICED, budget))
    assert rows - 43 <= len(server.passages) <= rows - 40


@pytest.mark.long
def test_questions_written_before_a_failure_are_kept(
    retriever: Retriever, tables: Tables, server: TeacherServer
) -> None:
    server.behavior = lambda _passage, _count: "500" if len(server.passages) > 30 else fake.OK
    with pytest.raises(TwinError, match="in a row"):
        update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    questions = tables.read("teacher_questions", "ada", where="outcome = 'written'")
    assert 26 <= questions.height <= 30  # Four requests run at once.
    server.behavior = lambda _passage, _count: fake.OK
    server.passages.clear()
    update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    rows = tables.read("instruction_dataset", "ada").height
    assert len(server.passages) == rows - questions.height


@pytest.mark.long
def test_an_unreachable_teacher_is_reported(
    retriever: Retriever, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    with pytest.raises(TwinError, match="TWIN_TEACHER_MODEL"):
        update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())


_UPDATE_SCRIPT = """
from tests.graph.instructions.conftest import ADA, open_tables
from twin_assets.instructions.dataset_building import update_dataset
from twin_assets.instructions.teacher import Teacher
from twin_resources.settings import load_settings
update_dataset(open_tables(load_settings()), ADA, retriever=None, teacher=Teacher("MODEL"))
"""


@pytest.mark.long
def test_a_killed_run_is_resumed(
    retriever: Retriever, tables: Tables, server: TeacherServer
) -> None:
    def reply_slowly(_passage: str, _count: int) -> str:
        time.sleep(0.05)
        return fake.OK

    server.behavior = reply_slowly
    script = _UPDATE_SCRIPT.replace("MODEL", UNPRICED)
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 120
    while len(server.passages) < 50 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    process.kill()
    process.wait()
    request_count = len(server.passages)
    assert request_count >= 50
    server.behavior = lambda _passage, _count: fake.OK
    update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    rows = tables.read("instruction_dataset", "ada")
    assert set(server.passages) == set(rows["answer"])
    assert len(server.passages) - rows.height <= 20  # the interrupted batch
    assert count_sources(tables) == {"teacher": rows.height}


@pytest.mark.long
def test_another_teacher_leaves_questions_pending(
    retriever: Retriever, tables: Tables, server: TeacherServer
) -> None:
    rows = tables.read("instruction_dataset", "ada").height
    assert count_pending_questions(tables, "ada", "") == 0
    assert count_pending_questions(tables, "ada", UNPRICED) == rows
    update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher())
    assert count_pending_questions(tables, "ada", UNPRICED) == 0
    assert count_pending_questions(tables, "ada", "openai/other") == rows
    assert count_pending_questions(tables, "ada", "") == rows
    server.behavior = lambda passage, _count: fake.EMPTY if len(passage) % 4 else fake.OK
    update_dataset(tables, ADA, retriever=retriever, teacher=create_teacher("openai/other"))
    assert count_pending_questions(tables, "ada", "openai/other") == 0  # requested without success
