"""Prompts: the templates, and control tokens made harmless in what people write.

Belongs here: text in, text out. Does not belong here: choosing passages.
"""
