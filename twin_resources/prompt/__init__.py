"""Prompts: the templates, and control tokens made harmless in what people write.

Scope: text in, text out. Out of scope: choosing passages.
"""
