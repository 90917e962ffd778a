"""Model servers: one llama.cpp process a version, and the fleet that the policy wants.

Scope: starting, watching and asking them. Out of scope: routes (`gateway/`).
"""
