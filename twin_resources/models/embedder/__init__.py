"""Text to vectors: preparing an embedder and running it.

Belongs here: the engines. Does not belong here: tables of vectors (`retrieval/`).
"""
