"""Create those pictures of the documents that no single test creates."""
