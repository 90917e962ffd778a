"""Compute the loop's statistics: pure functions that decide on retraining and release.

Scope: bounds, bets, detectors, tests, and the decisions based on them.
Out of scope: reading scores, storing state, starting runs, and Dagster.
Method: deploy/docs/loop-explained.md. Import from the modules; this file stays empty.
"""
