"""Serve the gateway's endpoint: from a request to an answer, its trace and its cost.

Scope: the request path and the plugin inside LiteLLM.
Out of scope: Dagster, keys and money (`access/`), models fitted from labels (`router/`).
"""
