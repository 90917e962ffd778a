"""Run the processes of this machine: the supervisor, its programs, their ports and environment.

Scope: starting, watching and ending them, and reading their progress. Out of
scope: the programs' own work.
"""
