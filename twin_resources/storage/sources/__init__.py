"""Find posts at their sources: list folders, list and read S3 prefixes, and poll feeds."""
