"""Processes of this machine: the supervisor, its programs, their ports and environment.

Scope: starting, watching and ending them, and what they say of their progress. Out of
scope: what a program does.
"""
