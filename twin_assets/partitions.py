"""Define the one partitions definition: an author is a partition of every asset.

Scope: the definition. Out of scope: the authors (`authors.Author`, one TOML file each), adding a
partition (`twin up`, the sensors).
"""

from __future__ import annotations

import dagster as dg

authors = dg.DynamicPartitionsDefinition(name="authors")
