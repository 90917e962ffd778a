"""The loop between ledger, evidence and runs: what is stored, and what one tick does.

Belongs here: watches, alarms, retrainings as rows of the state store; gathering a situation; ticks.
Does not belong here: statistics and decisions (`statistics/`), reading the trace store (`ledger/`),
dagster (`twin_sensors`). Import from the modules; this file stays empty.
"""
