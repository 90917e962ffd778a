"""The loop between ledger, evidence and runs: what is stored, and what one tick does.

Scope: watches, alarms, retrainings as rows of the state store; gathering a situation; ticks.
Out of scope: statistics and decisions (`statistics/`), reading the trace store (`ledger/`),
dagster (`twin_sensors`). Import from the modules; this file stays empty.
"""
