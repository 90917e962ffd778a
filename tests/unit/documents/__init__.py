"""The documents: generated pages, language and site."""
