"""Serve the gateway's endpoint: answer requests, and record their traces and costs.

Scope: the request path and the plugin inside LiteLLM.
Out of scope: Dagster, keys and budgets (`access/`), and models fitted from labels (`router/`).
"""
