"""Who may ask whom, and what it may cost: keys, limits, and the one account.

Scope: keys, reservations and settlements, refusals. Out of scope: which model
answers (`gateway/`, `router/`).
"""
