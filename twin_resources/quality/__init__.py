"""Measure answer quality and act on it: ledger, judges, trials, retraining.

Scope: evidence and decisions in the state store. Out of scope: the mathematics (`statistics/`).
"""
