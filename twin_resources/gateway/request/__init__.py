"""The body of a request: what clients send, and what of it is taken."""
