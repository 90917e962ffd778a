"""What the paid model may still cost today.

Belongs here: the table of what was spent by day, and the refusal when the budget is used up.
Does not belong here: whether a paid route exists (`Settings.has_paid_route`), prices (LiteLLM's
map).

The amount is known after an answer, so the last one of a day can go over by its own price. Days are
UTC.
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import os
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twin_resources.errors import TwinError
from twin_resources.gateway.refusals import Refused
from twin_resources.state.state import State

_metadata = sa.MetaData()
paid_spending = sa.Table(
    "paid_spending",
    _metadata,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("usd", sa.Double, nullable=False),
)


def price_of(model: str, *, prompt_tokens: int, answer_tokens: int) -> float:
    """What a paid model asks for that many tokens, US dollars, by LiteLLM's price map.

    Raises:
        TwinError: the map knows no price for it.
    """
    # Without the switch LiteLLM asks GitHub for its map when it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from litellm import cost_per_token

    try:
        prompt_usd, answer_usd = cost_per_token(
            model=model, prompt_tokens=prompt_tokens, completion_tokens=answer_tokens
        )
    except Exception as error:
        raise TwinError(
            f"find the price of {model}",
            found=f"none in LiteLLM's price map ({type(error).__name__})",
            next_step="name a model with a known price in TWIN_PAID_MODEL, or leave it empty",
        ) from error
    return float(prompt_usd + answer_usd)


class PaidBudget:
    """The budget of one home.

    Args:
        state: the state store.
        model: LiteLLM name of the paid model.
        usd_per_day: the limit, US dollars.

    Raises:
        TwinError: LiteLLM knows no price for the model, so that no budget could be kept.
    """

    def __init__(self, state: State, *, model: str, usd_per_day: float) -> None:
        self._state = state
        self._model = model
        self._usd_per_day = usd_per_day
        self.price(prompt_tokens=1, answer_tokens=1)
        with state.transaction() as connection:
            _metadata.create_all(connection)

    def price(self, *, prompt_tokens: int, answer_tokens: int) -> float:
        """What the paid model asks for one answer, US dollars; see `price_of`."""
        return price_of(self._model, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)

    def spent_today(self) -> float:
        """US dollars spent since 00:00 UTC."""
        with self._state.reading() as connection:
            usd = connection.execute(
                sa.select(paid_spending.c.usd).where(paid_spending.c.day == _today())
            ).scalar()
        return float(usd or 0.0)

    def problem(self) -> str:
        """Why no answer may be paid for now, one short clause; empty: one may.

        For questions that others can answer: a store that cannot be read must not lose them.
        """
        try:
            spent = self.spent_today()
        except SQLAlchemyError as error:
            return f"budget unreadable ({type(error).__name__})"
        return "budget used up" if spent >= self._usd_per_day else ""

    def check(self) -> None:
        """Refuse when the day's budget is used up.

        Raises:
            Refused: 429.
        """
        spent = self.spent_today()
        if spent >= self._usd_per_day:
            raise Refused(
                429,
                "paid_budget_used_up",
                tried="answer with the paid model",
                found=f"${spent:.4f} spent today of ${self._usd_per_day:.2f}",
                next_step="ask twin/<author> without @paid, wait for 00:00 UTC, or raise "
                "TWIN_PAID_BUDGET_PER_DAY",
            )

    def add(self, usd: float) -> None:
        """Count what one answer cost."""
        with self._state.transaction() as connection:
            changed = connection.execute(
                sa.update(paid_spending)
                .where(paid_spending.c.day == _today())
                .values(usd=paid_spending.c.usd + usd)
            )
            if changed.rowcount == 0:
                connection.execute(sa.insert(paid_spending).values(day=_today(), usd=usd))


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
