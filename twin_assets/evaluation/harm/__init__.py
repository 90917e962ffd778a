"""Detect abuse in answers."""
