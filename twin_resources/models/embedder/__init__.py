"""Text to vectors: preparing an embedder and running it.

Scope: the engines. Out of scope: tables of vectors (`retrieval/`).
"""
