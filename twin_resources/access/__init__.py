"""Authorize requests and limit spending, with keys, limits and a home's account.

Scope: keys, reservations and settlements, refusals.
Out of scope: which model answers (`gateway/`, `router/`).
"""
