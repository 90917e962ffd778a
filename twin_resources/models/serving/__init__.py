"""Serve models with one llama.cpp process per version, in the fleet that the policy requires.

Scope: starting, monitoring and querying servers. Out of scope: routes (`gateway/`).
"""
