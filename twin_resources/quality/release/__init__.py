"""Run trials of candidates, between the pure evidence and the registry of versions.

Import from the modules; this file stays empty.
"""
