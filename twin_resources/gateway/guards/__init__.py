"""Detect text in a question, a passage or an answer that must be masked, blocked or recorded."""
