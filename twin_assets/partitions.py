"""Define the partitions of all assets: one partition per author.

Scope: the definition.
Out of scope: the authors (`authors.Author`, one TOML file each), and adding a partition (`twin up`,
the sensors).
"""

from __future__ import annotations

import dagster as dg

authors = dg.DynamicPartitionsDefinition(name="authors")
