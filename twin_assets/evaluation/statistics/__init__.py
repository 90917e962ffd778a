"""Compute intervals and sequential tests of figures and rates."""
