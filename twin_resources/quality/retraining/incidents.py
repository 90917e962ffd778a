"""Incidents: a fall that the authors of a home share, as rows; what covers their alarms meanwhile.

Belongs here: storing what each day of each stream says, looking at all of them together, the
incident's row and its notice.
Does not belong here: the evidence (`statistics/common_cause.py`), what becomes of an alarm that an
incident covers (`statistics/retraining.py`).

One cause is one incident: while it lasts, each further alarm of the home moves its end, and people
are reminded once a week. It covers alarms until 14 days after it was seen last.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from twin_resources.observability.notifications import Notice, announce
from twin_resources.quality.ledger.ledger_tables import upsert
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.statistics import common_cause
from twin_resources.statistics.common_cause import WINDOW_DAYS, DayBets, FleetEvidence
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import (
    alarms,
    fleet_days,
    followed,
    incidents,
    watches,
)

DAY_S = 86_400.0
COVERS_DAYS = 14.0
REMINDED_DAYS = 7.0
_NAMED = 20  # authors in a notice


@dataclass(frozen=True)
class Incident:
    """A fall that authors share.

    Attributes:
        since_day: days since the epoch, from which on the evidence was largest.
        last_day: the newest day of the home that it was seen in.
        began_at, last_at: when a tick saw it first, and last; seconds since the epoch.
        e_value: at the first time.
        authors: with an armed stream then. `fallen`: whose values were lower, the most first.
        design_effect: of the days before it (`common_cause.py`).
    """

    number: int
    since_day: int
    last_day: int
    began_at: float
    last_at: float
    e_value: float
    authors: int
    fallen: tuple[str, ...]
    design_effect: float

    @property
    def message(self) -> str:
        """In one line, without a figure that changes while it lasts."""
        return (
            f"incident {self.number}: values of {len(self.fallen)} of {self.authors} authors "
            f"together are below their baselines since {_date(self.since_day)} (judge, base model "
            "or provider), no retraining"
        )


def record_day(
    connection: sa.Connection, stream: str, version: str, bets: DayBets, *, read_to: int
) -> None:
    """Add to a day of the home what a stream's newly settled values say; what is older than the
    detector looks back is left out by `look`.

    Args:
        read_to: sequence of the newest of these values.
    """
    key = {"author": bets.author, "stream": stream, "version": version, "day": bets.day}
    row = (
        connection.execute(
            sa.select(fleet_days).where(*(fleet_days.c[name] == of for name, of in key.items()))
        )
        .mappings()
        .one_or_none()
    )
    if row is not None:
        bets = common_cause.added(_bets_of(row), bets)
    facts = {"logs": list(bets.logs), "blocks": bets.blocks}
    sums = {"total": bets.total, "squares": bets.squares}
    upsert(connection, fleet_days, [{**key, "read_to": read_to, **facts, **sums}])


def read_to(connection: sa.Connection, author: str, stream: str, version: str) -> int:
    """The newest value of a stream that is in a day of the home; 0: none."""
    newest = sa.select(sa.func.max(fleet_days.c.read_to)).where(
        fleet_days.c.author == author,
        fleet_days.c.stream == stream,
        fleet_days.c.version == version,
    )
    return int(connection.execute(newest).scalar() or 0)


def look(state: State, rules: LoopRules, *, now: float) -> str:
    """Fold all authors' days; begin or prolong an incident, and tell people.

    Args:
        now: seconds since the epoch.

    Returns:
        Where the detector of the home stands, in words; empty: fewer than three authors are armed.
    """
    with state.transaction() as connection:
        newest = connection.execute(sa.select(sa.func.max(fleet_days.c.day))).scalar()
        if newest is None:
            return ""
        kept_from = int(newest) - 2 * WINDOW_DAYS
        connection.execute(sa.delete(fleet_days).where(fleet_days.c.day <= kept_from))
        last, open_one = newest_incident(connection), covering(connection, now=now)
        evidence = common_cause.common_fall(
            [_bets_of(row) for row in connection.execute(sa.select(fleet_days)).mappings()],
            authors=_armed_authors(connection),
            after=None if last is None else last.last_day,
            alone=_alone(connection),
            design_effect=None if open_one is None else open_one.design_effect,
            horizon=rules.horizon,
            alpha=rules.alpha,
        )
        if evidence.is_common:
            tell(connection, _stored(connection, evidence, open_one, int(newest), now), now=now)
    if evidence.authors < common_cause.FEWEST_AUTHORS:
        return ""
    return f"all authors: e-value {evidence.e_value:,.0f} of {evidence.threshold:,.0f}"


def newest_incident(connection: sa.Connection) -> Incident | None:
    """The last one, whether it is over or not; None: there was none."""
    newest = sa.select(incidents).order_by(incidents.c.number.desc()).limit(1)
    row = connection.execute(newest).mappings().one_or_none()
    if row is None:
        return None
    facts: dict[str, Any] = {**row, "fallen": tuple(row["fallen"])}
    return Incident(**facts)


def covering(connection: sa.Connection, *, now: float) -> Incident | None:
    """The incident that an alarm at this time belongs to; None: there is none."""
    last = newest_incident(connection)
    return None if last is None or now - last.last_at > COVERS_DAYS * DAY_S else last


def tell(connection: sa.Connection, incident: Incident, *, now: float) -> None:
    """Tell people of an incident: at its beginning, and once a week while it lasts."""
    week = max(0, int((now - incident.began_at) // (REMINDED_DAYS * DAY_S)))
    shown = ", ".join(incident.fallen[:_NAMED]) + (" …" if len(incident.fallen) > _NAMED else "")
    announce(
        connection,
        Notice(
            f"incident:{incident.number}:{week}",
            "incident",
            incident.fallen[0] if incident.fallen else "",
            f"Quality of {len(incident.fallen)} authors fell together",
            f"{incident.message}. E-value {incident.e_value:,.0f}. Alarms of single authors start "
            f"no training until it has not been seen for {COVERS_DAYS:.0f} days. Look at what they "
            "share: the judge, the base model, the server, the page. If it is there to stay, "
            "`twin lower-floor --reason TEXT` certifies an author anew; `twin retrain --reason "
            f"TEXT` trains one by hand. Authors: {shown}.",
        ),
        at=now,
    )


def _stored(
    connection: sa.Connection,
    evidence: FleetEvidence,
    open_one: Incident | None,
    newest: int,
    now: float,
) -> Incident:
    """The incident that goes on, with its end moved, or a new one."""
    seen = {"last_day": newest, "last_at": now}
    if open_one is not None:
        mine = incidents.c.number == open_one.number
        connection.execute(sa.update(incidents).where(mine).values(**seen))
    else:
        connection.execute(
            sa.insert(incidents).values(
                **seen,
                since_day=newest if evidence.since is None else evidence.since,
                began_at=now,
                e_value=evidence.e_value,
                authors=evidence.authors,
                fallen=list(evidence.fallen),
                design_effect=evidence.design_effect,
            )
        )
    stored = newest_incident(connection)
    assert stored is not None
    return stored


def _armed_authors(connection: sa.Connection) -> int:
    counted = sa.select(sa.func.count(sa.distinct(watches.c.author))).where(watches.c.armed)
    return int(connection.execute(counted).scalar_one())


def _alone(connection: sa.Connection) -> Mapping[str, int]:
    """Author → day of the newest alarm of its own, of the version that is followed."""
    rows = connection.execute(
        sa.select(alarms.c.author, sa.func.max(alarms.c.raised_at))
        .join(
            followed,
            (alarms.c.author == followed.c.author) & (alarms.c.version == followed.c.version),
        )
        .where(alarms.c.decision != "incident")
        .group_by(alarms.c.author)
    )
    return {str(author): int(at // DAY_S) for author, at in rows}


def _bets_of(row: Mapping[Any, Any]) -> DayBets:
    logs = tuple(float(log) for log in row["logs"])
    return DayBets(row["author"], row["day"], logs, row["blocks"], row["total"], row["squares"])


def _date(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
