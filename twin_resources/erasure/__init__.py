"""Erase a post, an author or a reader from every store, and certify the erasure.

Scope: the target of an erasure, its plan, its steps and its journal.
Out of scope: the job that runs an erasure (`twin_sensors`).
"""
