"""Choose the version that answers a request, from what was read of the home at one moment."""
