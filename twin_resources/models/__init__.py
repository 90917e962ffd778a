"""Use models: embed, search, quote, serve, and launch training runs.

Scope: using a model. Out of scope: its weight files (`storage/weights`), judging its answers
(`quality/judges`).
"""
