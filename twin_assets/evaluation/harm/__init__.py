"""What must not come out: recited training texts, planted secrets, abuse, personal data."""
