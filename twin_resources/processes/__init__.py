"""Run the processes of this machine: the supervisor, its programs, their ports and environment.

Scope: starting, monitoring and stopping processes, and reading their progress.
Out of scope: the work of the programs.
"""
