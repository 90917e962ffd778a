"""Routes, keys, limits, and the forms of other APIs."""
