"""Find passages with vector search, full-text search and rank fusion, and maintain the indexes.

Scope: search and selection. Out of scope: quoting (`quotes/`).
"""
