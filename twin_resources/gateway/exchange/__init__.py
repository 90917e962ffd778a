"""The exchange that passes through the stages, and the record of it that the hooks read."""
