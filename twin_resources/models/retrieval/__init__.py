"""Finding passages: vector and full-text search, fused; the index.

Belongs here: search and selection. Does not belong here: quoting (`quotes/`).
"""
