"""The one partitions definition: an author is a partition of every asset.

Scope: the definition. Out of scope: who the authors are (`authors.Author`, one TOML
file each) or when a partition is added (`twin up`, the sensors).
"""

from __future__ import annotations

import dagster as dg

authors = dg.DynamicPartitionsDefinition(name="authors")
