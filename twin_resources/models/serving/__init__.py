"""Serve models with one llama.cpp process per version, in a fleet that follows the policy.

Scope: starting, monitoring and querying servers. Out of scope: routes (`gateway/`).
"""
