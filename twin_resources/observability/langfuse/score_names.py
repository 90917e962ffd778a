"""The names of readers' feedback scores, and of those that the gateway measures, as stored."""
# pyright: strict

VOTE = "thumbs"  # 1 is thumbs up, and 0 is thumbs down; other values are votes on a finer scale
EDIT = "output"  # Langfuse gives every CORRECTION this name
COMPARISON = "comparison"  # 1 if the reader preferred this answer, 0 if they preferred another
QUOTE_SCORE, QUOTE_THRESHOLD = "quote_score", "quote_threshold"  # evidence, and its limit
QUOTATIONS = "quotations"  # how many an answer shows; absent if none were searched for
