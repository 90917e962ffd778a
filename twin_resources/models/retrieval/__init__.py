"""Find passages with vector search, full-text search, rank fusion, and indexes.

Scope: search and selection. Out of scope: quoting (`quotes/`).
"""
