"""Read Lance tables, write changed rows, and compact the tables.

Scope: operations that apply to any table.
Out of scope: the columns of individual tables (`twin_assets`).
"""
