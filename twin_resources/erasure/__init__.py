"""Erase a post, an author or a reader from every store, and certify the erasure.

Scope: targets, plan, steps, journal. Out of scope: the job that runs an erasure
(`twin_sensors`).
"""
