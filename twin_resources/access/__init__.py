"""Authorize requests and limit spending: keys, limits, and the account of a home.

Scope: keys, reservations and settlements, refusals. Out of scope: which model
answers (`gateway/`, `router/`).
"""
