"""Read LanceDB tables, write what has changed, and keep them compact.

Scope: what applies to any table. Out of scope: columns (`twin_assets`).
"""
