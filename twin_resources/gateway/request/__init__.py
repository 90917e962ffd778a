"""Read and validate the body of a request."""
