"""LiteLLM's plugin and the work of its hooks: watching a canary, traces, scores."""
