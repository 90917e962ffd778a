"""Intervals: bootstrap over documents, exact ones of rates."""
