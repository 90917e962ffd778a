"""Scores answers with judges, which are measures in [0, 1], and tests judges with planted answers.

Scope: the measures, their calibration on an author, plants, certification of a panel.
Out of scope: decisions based on scores (`statistics/`), obtaining answers, Dagster.
Method: deploy/docs/loop-explained.md. Import from the modules; this file stays empty.
"""
