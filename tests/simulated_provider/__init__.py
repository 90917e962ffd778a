"""A paid provider that is none: OpenAI's chat API with a price, a bill, and every way to fail.

Scope: what stands for a paid API in tests, benchmarks and the demo, which starts it from a
checkout (`twin_resources/processes/programs.py`). Out of scope: what asks it.
"""
