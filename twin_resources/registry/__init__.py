"""Keep the model registry: versions, states, moves, verdicts, and the served policy.

Scope: model versions, and the moves between their states.
Out of scope: the evidence for a move (`quality/release`).
"""
