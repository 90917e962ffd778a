"""The one endpoint: from a request to an answer, its trace and its cost.

Scope: the request path and the plugin inside LiteLLM. Out of scope: dagster; keys
and money (`access/`); what is fitted from labels (`router/`).
"""
