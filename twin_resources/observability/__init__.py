"""Record traces and scores, and notify people.

Scope: recording and reading. Out of scope: drawing conclusions from the records (`quality/`).
"""
