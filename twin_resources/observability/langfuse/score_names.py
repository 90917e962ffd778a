"""Define the names of readers' feedback scores in every trace store.

Scope: the names, which must not change because they are stored. Out of scope: accepting feedback
(`gateway/api/feedback.py`), counting scores (`quality/ledger/scores.py`).
"""
# pyright: strict

VOTE = "thumbs"  # 1 is thumbs up, and 0 is thumbs down; other values are votes on a finer scale
EDIT = "output"  # Langfuse gives every CORRECTION this name
COMPARISON = "comparison"  # 1 if the reader preferred this answer, 0 if they preferred another
