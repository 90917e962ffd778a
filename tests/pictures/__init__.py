"""Pictures of the documents that no single test makes."""
