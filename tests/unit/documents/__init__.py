"""The documents: what is generated, how they read, the site that they make."""
