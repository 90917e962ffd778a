"""A simulated paid provider: OpenAI's chat API with a price, a bill, and every kind of failure.

Scope: the replacement of a paid API in tests and benchmarks. Out of scope: its clients.
"""
