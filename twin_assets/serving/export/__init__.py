"""A checkpoint as GGUF for the model server, and the proof that it says the same.

Belongs here: export and parity. Does not belong here: releasing (`released_model.py`).
"""
