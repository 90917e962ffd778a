"""Connect ledger, evidence and run in the retraining loop: stored rows and ticks.

Scope: watches, alarms and retrainings as rows of the state store, the context of an alarm, ticks.
Out of scope: statistics and decisions (`statistics/`), reading the trace store (`ledger/`),
dagster (`twin_sensors`). Import from the modules; this file stays empty.
"""
