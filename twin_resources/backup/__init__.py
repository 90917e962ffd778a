"""Save a home as one file or under one prefix, and restore it into an empty home.

Scope: the saved contents, their format, saving and restoring. Out of scope: the meaning of
tables and rows; repairing an existing home (`tables/mending.py`).
"""
