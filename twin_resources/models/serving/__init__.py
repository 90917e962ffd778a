"""Model servers: one llama.cpp process for each version, and the fleet that the policy requires.

Scope: starting, monitoring and querying them. Out of scope: routes (`gateway/`).
"""
