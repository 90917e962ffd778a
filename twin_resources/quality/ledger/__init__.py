"""Copy the trace store's traces and scores into the ledger, where each counts once.

Scope: reading, storing and settling them.
Out of scope: decisions based on them.
"""
