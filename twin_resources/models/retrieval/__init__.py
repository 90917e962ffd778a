"""Find passages: vector and full-text search, rank fusion, and the indexes.

Scope: search and selection. Out of scope: quoting (`quotes/`).
"""
