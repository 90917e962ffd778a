"""Trials of candidates: state between the evidence (pure) and the registry of versions.

Import from the modules; this file stays empty.
"""
