"""Keep the model registry: versions, states, moves, verdicts, and the served policy.

Scope: versions and their moves.
Out of scope: the evidence for a move (`quality/release`).
"""
