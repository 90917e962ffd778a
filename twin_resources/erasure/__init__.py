"""Erasing what a person asked to have forgotten, in every store, with a certificate.

Belongs here: targets, plan, steps, journal. Does not belong here: the job that runs it
(`twin_sensors`).
"""
