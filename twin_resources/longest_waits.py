"""How long anything of this machine is waited for.

Scope: the two bounds that every wait shares. Out of scope: whether what is waited
for works (`processes/program_progress.py`), waits for other machines, and how often one looks.

A loaded machine makes all things slow and breaks none: what uses the processor, writes its log or
answers is waited for. `deploy/docs/decisions.md` says what each other number of seconds decides.
"""
# pyright: strict

from __future__ import annotations

MAX_IDLE_S = 180
"""Of a process without CPU time or a line in its log: on the busiest machine it gets a turn within
seconds."""

MAX_WORKING_S = 3600
"""Of what works all the time and is never done: it repeats something."""
