"""Run trials of candidate versions, and release them according to the evidence.

Out of scope: the statistics (`statistics/`), storing versions (`registry/`). Import from the
modules; this package exports nothing.
"""
