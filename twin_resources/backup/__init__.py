"""A home saved as one file or under one prefix, and put back into an empty place.

Scope: what is saved, its form, and both ways. Out of scope: what a table or a row
means; mending a home that is there (`tables/mending.py`).
"""
