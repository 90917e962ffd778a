"""Define the route names that traces, ledger and reports use for the source of an answer.

Scope: the names and their meanings.
Out of scope: choosing a route (`gateway/routing/`), the weights of versions (`policy.py`).
"""
# pyright: strict

BASE = "base"
PAID = "paid"
# The version and route of an answer that no model wrote. Votes on it do not rate a model.
QUOTES = "quotes"
# The version and route of the program's own text (`gateway/front_desk/`). The loop ignores it.
FRONT_DESK = "front_desk"
DRAFT = "voice"  # alias for prose that is shown although it is not released
TASK = "task"  # alias for a program's request, not a reader's (`request/housekeeping.py`)
ROUTED_PREFIX = "routed:"  # the model that the policy chose (`gateway/routing/decision.py`)
FALLBACK_PREFIX = "down:"  # the model that answers while no server of this home is ready
