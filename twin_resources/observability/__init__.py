"""What happened, for people: traces, scores and notices.

Belongs here: recording and reading it. Does not belong here: what is concluded from it
(`quality/`).
"""
