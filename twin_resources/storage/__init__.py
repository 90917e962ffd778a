"""Store tables, state and model weights, and find posts at their sources.

Scope: the stores and their integrity.
Out of scope: the meaning of rows.
"""
