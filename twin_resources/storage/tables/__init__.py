"""Tables in LanceDB: reading, writing what has changed, keeping them compact.

Belongs here: what is true of any table. Does not belong here: columns (`twin_assets`).
"""
