"""What the end of an answer sets off: watching a canary, traces, scores, a failed call."""
