"""How good answers are, and what follows: ledger, judges, trials, retrainings.

Scope: evidence and decisions kept in the state store. Out of scope: the mathematics
(`statistics/`).
"""
