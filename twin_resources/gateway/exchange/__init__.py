"""The exchange that passes through the stages, and its record, which the hooks read."""
