"""Test the documents: generated pages, language and site."""
