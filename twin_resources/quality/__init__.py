"""Measures answer quality and acts on it: ledger, judges, trials, retrainings.

Scope: evidence and decisions kept in the state store. Out of scope: the mathematics
(`statistics/`).
"""
