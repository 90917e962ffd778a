"""Create the documents' pictures that no single test creates."""
