"""Trials of candidates: state between the evidence (pure) and the registry of versions.

Scope: nothing but this line; import the modules themselves.
"""
