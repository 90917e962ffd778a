"""Record what happened and show it to people: traces, scores and notices.

Scope: recording and reading them. Out of scope: conclusions drawn from them (`quality/`).
"""
