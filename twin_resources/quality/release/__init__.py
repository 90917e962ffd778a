"""Trials of candidates: what is kept between evidence (pure) and registry (which version is what).

Scope: nothing but this line; import the modules themselves.
"""
