"""The statistics of the loop: when to retrain, when to release, as pure functions over values.

Scope: bounds, bets, detectors, tests, and the decisions that follow from them.
Out of scope: reading scores, storing states, starting runs, dagster.
Method: deploy/docs/loop-explained.md. Import from the modules; this file stays empty.
"""
