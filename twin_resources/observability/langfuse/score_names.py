"""The names of scores that a reader's feedback becomes, in every trace store.

Scope: names that are stored, so that they never change. Out of scope: reading a
reader's feedback (`gateway/api/feedback.py`), what counts of it (`quality/ledger/scores.py`).
"""
# pyright: strict

VOTE = "thumbs"  # a thumb is 1 or 0; a score from 0 to 1 is the same vote, more finely said
EDIT = "output"  # the name that Langfuse gives every CORRECTION
COMPARISON = "comparison"  # 1: preferred to another answer, 0: another was preferred to it
