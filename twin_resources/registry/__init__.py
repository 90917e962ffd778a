"""The model registry: versions, their states and moves, verdicts, and the served policy.

Scope: versions and their moves. Out of scope: the evidence for a move (`quality/release`).
"""
