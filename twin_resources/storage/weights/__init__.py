"""Fetch and convert model weights, and parse the names given for models.

Scope: files of weights. Out of scope: serving and training models.
"""
