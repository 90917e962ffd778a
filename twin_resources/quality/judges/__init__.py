"""Score answers with judges (measures in [0, 1]), and test the judges with negative probes.

Scope: the measures, their calibration for an author, negative probes, certifying a panel.
Out of scope: decisions based on scores (`statistics/`), obtaining answers, Dagster.
Method: deploy/docs/loop-explained.md. Import from the modules; this package exports nothing.
"""
