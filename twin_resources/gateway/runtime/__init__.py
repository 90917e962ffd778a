"""The gateway process: the application, its parts, its background tasks and its metrics."""
