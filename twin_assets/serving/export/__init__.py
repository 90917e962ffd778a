"""Export a checkpoint for other software, and compare its answers with the checkpoint's.

Scope: export and parity. Out of scope: releasing (`released_model.py`).
"""
