"""Erasing what a person asked to have forgotten, in every store, with a certificate.

Scope: targets, plan, steps, journal. Out of scope: the job that runs it
(`twin_sensors`).
"""
