"""Where things are kept: tables, state, weights, and the places that posts come from.

Scope: a store and what keeps it whole. Out of scope: what a row means.
"""
