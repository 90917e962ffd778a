"""Save a home as one tar file, and restore it into an empty home."""
