"""The names of routes: who answered a request, as traces, ledger and reports write it.

Scope: the words, and what each says. Out of scope: choosing a route
(`gateway/routing/`), the weights of versions (`policy.py`).
"""
# pyright: strict

BASE = "base"
ANCHOR = "anchor"  # an earlier version, in traces of before 2026-11-26
PAID = "paid"
# Version and route of an answer that no model has written: votes on it say nothing of one.
QUOTES = "quotes"
# Version and route of a text of the program's own (`gateway/front_desk/`): outside the loop.
FRONT_DESK = "front_desk"
DRAFT = "voice"  # alias of prose that is shown although it is not released
TASK = "task"  # alias by which a program says that no reader asks (`request/housekeeping.py`)
DIVERTED = "divert:"  # in traces of before 2026-11-26: a class of questions sent elsewhere
ROUTED = "routed:"  # and the model that the fitted policy chose (`gateway/routing/learned.py`)
CASCADED = "cascade:"  # in traces of before 2026-11-25: the model that answered again
DOWN = "down:"  # and who answers while no server of ours is ready
