"""The process: application, its parts, and what follows the files of the home."""
