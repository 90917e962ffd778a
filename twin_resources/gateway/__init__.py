"""Serve the gateway's endpoint: answer requests, and record their traces and costs.

Scope: the composer of an answer, and the provider by which LiteLLM serves it.
Out of scope: Dagster, keys and budgets (`access/`), and models fitted from labels (`router/`).
"""
