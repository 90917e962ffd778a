"""The cost of answers, and counters shared by all processes of a home."""
