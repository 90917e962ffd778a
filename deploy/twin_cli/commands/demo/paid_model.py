"""The demo's paid model: a simulated provider beside the own one, and its bill beside the account.

Belongs here: the settings by which the stack has it, the questions that show who answers, and
holding the account against the bill. Does not belong here: the provider (in a checkout's
`tests/simulated_provider`),
labels and policies (`learn_routing` makes them), the steps (`loop.py`).

No money is spent and nothing leaves the machine: the model is called `openai/simulated`, OpenAI's
address is the provider's for every program of this stack, its key is none, and what the environment
names as teacher or judge is not asked.
"""
# pyright: strict

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twin_resources.access.account import SpendingAccount
from twin_resources.access.account_rows import NANO
from twin_resources.errors import TwinError
from twin_resources.processes.programs import SIMULATED_PROVIDER_FOLDER, working_folder
from twin_resources.registry.route_names import PAID
from twin_resources.settings import PACES, SIMULATED_MODEL

ASKED = 12  # questions that are nobody's votes: they show who answers
LABELS = PACES["demo"]["routing_labels"]
# By the margin of the hurried gate: 40 labels show nothing at .03.
SETTINGS: Mapping[str, str] = {
    "TWIN_PAID_MODEL": SIMULATED_MODEL,
    "TWIN_PAID_BUDGET_PER_DAY": "0.05",
    "TWIN_LABEL_BUDGET_PER_MONTH": "0.05",
    "TWIN_QUALITY_MARGIN": "0.2",
}
_NOT_ASKED = ("TWIN_TEACHER_MODEL", "TWIN_JUDGE_MODEL")
_LOOPBACK = "127.0.0.1"
_NO_KEY = "none-the-provider-is-simulated"


@dataclass(frozen=True)
class PaidModelResult:
    """What came of the paid model.

    Attributes:
        model, margin: named as simulated; of the policy.
        labels: bought.
        why: who answers, and why, as `twin routing` says it.
        answered: version (`paid` for the simulated model) → how many of `ASKED` questions.
        bill_nano, account_nano: what the provider charged and what the home's account says,
            nano-dollars.
    """

    model: str = SIMULATED_MODEL
    margin: float = 0.0
    labels: int = 0
    why: str = ""
    answered: Mapping[str, int] | None = None
    bill_nano: int = 0
    account_nano: int = 0

    @property
    def is_paid_to_the_cent(self) -> bool:
        """Something was bought, and the account says what the bill says, to the nano-dollar."""
        return self.bill_nano > 0 and self.bill_nano == self.account_nano

    def rows(self) -> Mapping[str, str]:
        """For the receipt's table: what → found; empty: the step did not happen."""
        if not self.labels and not self.bill_nano:
            return {}
        answered = ", ".join(f"{count} by {name}" for name, count in (self.answered or {}).items())
        return {
            "paid model": f"{self.model}: a simulated provider, no money was spent",
            "labels": f"{self.labels}, at a margin of {self.margin:g}",
            "why": self.why,
            "answered": answered,
            "simulated bill": f"${self.bill_nano / NANO:.7f}; the account says "
            f"${self.account_nano / NANO:.7f}",
        }


def name_paid_model() -> None:
    """Put the simulated provider into the environment, from which the stack's programs have it.

    Whatever the environment says of a paid model, of OpenAI's address and key: the demo may not
    spend anybody's money, and another model may not be asked by this one's address.

    Raises:
        TwinError: this is no checkout, so there is no such provider.
    """
    if not (working_folder() / SIMULATED_PROVIDER_FOLDER).is_dir():
        raise TwinError(
            "run the demo",
            found="an installed package; the simulated provider of its paid model is part of a "
            "checkout's tests",
            next_step="clone the project, and run `bash deploy/up.sh --demo-loop` in it",
        )
    os.environ.update(SETTINGS)
    if os.environ.get("OPENAI_API_KEY") != _NO_KEY:  # else it was named before: one port for all
        os.environ["OPENAI_BASE_URL"] = f"http://{_LOOPBACK}:{_free_port()}/v1"
        os.environ["OPENAI_API_KEY"] = _NO_KEY
    for name in _NOT_ASKED:
        os.environ.pop(name, None)
    for name in ("NO_PROXY", "no_proxy"):  # a proxy of the environment cannot reach this machine
        before = [part for part in os.environ.get(name, "").split(",") if part]
        os.environ[name] = ",".join(dict.fromkeys((*before, _LOOPBACK)))


def answered_by(versions: Sequence[str]) -> Mapping[str, int]:
    """Who answered how often, the own versions first."""
    counts = Counter(versions)
    return dict(sorted(counts.items(), key=lambda item: (item[0] == PAID, item[0])))


def held_nano(account: SpendingAccount) -> int:
    """What is reserved for calls that are not settled yet."""
    return sum(int(row["reserved_nano"]) for row in account.rows())


def spent_nano(account: SpendingAccount) -> int:
    """What the account says was spent, on whatever."""
    return sum(int(row["nano"]) for row in account.rows())


def billed_nano(bill: Path) -> int:
    """What the simulated provider charged, by its bill; 0 before the first request."""
    lines = bill.read_text(encoding="utf-8").splitlines() if bill.exists() else ()
    return sum(int(json.loads(line)["nano"]) for line in lines)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
