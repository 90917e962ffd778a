"""Models at work: embedding, searching, quoting, serving, and starting a training.

Scope: using a model. Out of scope: its weights as files (`storage/weights`), judging
what it says (`quality/judges`).
"""
