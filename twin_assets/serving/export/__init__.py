"""A checkpoint as GGUF for the model server, and the proof that it says the same.

Scope: export and parity. Out of scope: releasing (`released_model.py`).
"""
