"""Models at work: embedding, searching, quoting, serving, and starting a training.

Belongs here: using a model. Does not belong here: its weights as files (`storage/weights`), judging
what it says (`quality/judges`).
"""
