"""Record and show traces, scores and notices.

Scope: recording and reading them. Out of scope: drawing conclusions from them (`quality/`).
"""
