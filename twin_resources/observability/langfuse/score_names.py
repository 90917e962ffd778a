"""Define the names of the scores that hold readers' feedback in every trace store.

Scope: the names, which never change because they are stored. Out of scope: reading a reader's
feedback (`gateway/api/feedback.py`), how a score is counted (`quality/ledger/scores.py`).
"""
# pyright: strict

VOTE = "thumbs"  # a thumb is 1 or 0; a score from 0 to 1 is the same vote on a finer scale
EDIT = "output"  # the name that Langfuse gives every CORRECTION
COMPARISON = "comparison"  # 1 if this answer was preferred to another, 0 if another was preferred
