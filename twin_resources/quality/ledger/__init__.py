"""Keeps a copy of the trace store's traces and scores, in which each counts once.

Scope: reading, storing and settling them. Out of scope: decisions based on them.
"""
