"""LiteLLM's configuration and the snapshot of the home that requests read."""
