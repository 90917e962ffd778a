"""Build prompts from templates, and escape control tokens in text written by people.

Scope: transforming text. Out of scope: choosing passages.
"""
