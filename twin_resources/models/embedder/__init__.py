"""Embed text as vectors: prepare an embedder and run it.

Scope: the engines. Out of scope: tables of vectors (`retrieval/`).
"""
