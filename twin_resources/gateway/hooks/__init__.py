"""LiteLLM's plugin and what its hooks do: watching a canary, traces, scores."""
