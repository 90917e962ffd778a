"""Score answers with judges, which are measures in [0, 1], and test judges with planted answers.

Scope: the measures, their calibration for an author, planted answers, certifying a panel.
Out of scope: decisions based on scores (`statistics/`), obtaining answers, Dagster.
Method: deploy/docs/loop-explained.md. Import from the modules; this package exports nothing.
"""
