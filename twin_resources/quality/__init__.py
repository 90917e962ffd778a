"""How good answers are, and what follows: ledger, judges, trials, retrainings.

Belongs here: evidence and decisions kept in the state store. Does not belong here: the mathematics
(`statistics/`).
"""
