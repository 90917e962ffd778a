"""Our copy of the trace store's traces and scores, in which each counts once.

Belongs here: reading, storing and settling them. Does not belong here: what is concluded.
"""
