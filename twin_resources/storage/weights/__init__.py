"""Fetch and convert model weights, and parse model names.

Scope: weight files. Out of scope: serving and training models.
"""
