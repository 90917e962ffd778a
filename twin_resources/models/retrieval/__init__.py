"""Finding passages: vector and full-text search, fused; the index.

Scope: search and selection. Out of scope: quoting (`quotes/`).
"""
