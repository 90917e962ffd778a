"""Who may ask whom, and what it may cost: keys, limits, and the one account.

Belongs here: keys, reservations and settlements, refusals. Does not belong here: which model
answers (`gateway/`, `router/`).
"""
