"""Where things are kept: tables, state, weights, and the places that posts come from.

Belongs here: a store and what keeps it whole. Does not belong here: what a row means.
"""
