"""Use models: embedding, searching, quoting, serving, and launching a training.

Scope: using a model. Out of scope: its weights as files (`storage/weights`), judging its answers
(`quality/judges`).
"""
