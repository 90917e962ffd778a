"""Pictures for the documents that are not made by a single test."""
