"""Judges: measures that score one answer in [0, 1], and the planted answers that test them.

Scope: the measures, their calibration on an author, plants, certification of a panel.
Out of scope: what is decided from scores (`statistics/`), getting answers, dagster.
Method: deploy/docs/loop-explained.md. Import from the modules; this file stays empty.
"""
