"""Routes, keys, limits, and the formats of other APIs."""
