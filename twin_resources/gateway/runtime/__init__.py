"""The process: the application, its parts, and the watcher of the home's files."""
