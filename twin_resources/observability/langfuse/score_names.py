"""Define the names of the scores that contain readers' feedback in every trace store.

Scope: the names, which never change because they are stored. Out of scope: receiving feedback
(`gateway/api/feedback.py`), counting scores (`quality/ledger/scores.py`).
"""
# pyright: strict

VOTE = "thumbs"  # 1 is thumbs up, 0 is thumbs down; values between are votes on a finer scale
EDIT = "output"  # the name that Langfuse gives every CORRECTION
COMPARISON = "comparison"  # 1 if the reader preferred this answer, 0 if the other one
