"""Train the adapter of other authors with which a candidate is compared."""
