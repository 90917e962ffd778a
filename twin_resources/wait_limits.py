"""Limit the waits for programs on this machine.

Scope: the two limits that every wait shares.
Out of scope: detecting a program's progress (`processes/program_progress.py`), waits for other
machines, and polling intervals.

A busy machine only slows programs down, so a wait continues while the program uses the processor,
writes to its log or responds. `deploy/docs/decisions.md` explains all other durations.
"""
# pyright: strict

from __future__ import annotations

MAX_IDLE_S = 180
"""Limit for a process without CPU time or a log line; even a busy machine schedules a process
within seconds."""

MAX_WORKING_S = 3600
"""Limit for a process that works continuously and never finishes, as in an endless loop."""
