"""Reads LanceDB tables, writes changed rows, and compacts the tables.

Scope: what applies to any table.
Out of scope: columns (`twin_assets`).
"""
