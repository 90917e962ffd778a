"""Model servers: one llama.cpp process a version, and the fleet that the policy wants.

Belongs here: starting, watching and asking them. Does not belong here: routes (`gateway/`).
"""
