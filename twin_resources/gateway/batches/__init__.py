"""Many questions answered by the gateway, from a file into a file, resumable."""
