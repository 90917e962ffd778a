"""Read LanceDB tables, write changed rows, and compact the tables.

Scope: what applies to any table.
Out of scope: columns (`twin_assets`).
"""
