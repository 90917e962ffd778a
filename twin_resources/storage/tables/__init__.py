"""Tables in LanceDB: reading, writing what has changed, keeping them compact.

Scope: what is true of any table. Out of scope: columns (`twin_assets`).
"""
