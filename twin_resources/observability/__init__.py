"""What happened, for people: traces, scores and notices.

Scope: recording and reading it. Out of scope: what is concluded from it
(`quality/`).
"""
