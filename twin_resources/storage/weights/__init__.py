"""Weights of models: fetching, converting, and reading the names that people give them.

Belongs here: files of weights. Does not belong here: serving and training them.
"""
