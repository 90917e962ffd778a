"""Build prompts from templates and make control tokens in people's text harmless.

Scope: text in, text out. Out of scope: choosing passages.
"""
