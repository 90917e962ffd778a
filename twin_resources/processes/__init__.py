"""Processes of this machine: the supervisor, its programs, their ports and environment.

Belongs here: starting, watching and ending them, and what they say of their progress. Does not
belong here: what a program does.
"""
