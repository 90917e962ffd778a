"""Serve the model versions that the policy requires, each in its own llama.cpp process.

Scope: starting, monitoring and querying servers. Out of scope: routes (`gateway/`).
"""
