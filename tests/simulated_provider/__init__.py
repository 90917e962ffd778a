"""A simulated paid provider: OpenAI's chat API with a price, a bill, and every kind of failure.

Scope: the replacement of a paid API in tests, benchmarks and the demo, which starts it from a
checkout (`twin_resources/processes/programs.py`). Out of scope: its clients.
"""
