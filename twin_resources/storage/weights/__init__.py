"""Weights of models: fetching, converting, and reading the names that people give them.

Scope: files of weights. Out of scope: serving and training them.
"""
