"""Statistics of the loop: pure functions that decide on retraining and release.

Scope: bounds, bets, detectors, tests, and the decisions that follow from them.
Out of scope: reading scores, storing state, starting runs, dagster.
Method: deploy/docs/loop-explained.md. Import from the modules; this file stays empty.
"""
