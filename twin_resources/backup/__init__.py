"""Save a home as one file or under one prefix, and restore it into an empty home.

Scope: the contents of a backup, its format, saving and restoring. Out of scope: the meaning of
tables and rows; repairing an existing home (`tables/table_repair.py`).
"""
