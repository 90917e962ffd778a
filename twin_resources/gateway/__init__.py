"""The one endpoint: from a request to an answer, its trace and its cost.

Belongs here: the request path and the plugin inside LiteLLM. Does not belong here: dagster; keys
and money (`access/`); what is fitted from labels (`router/`).
"""
