"""What answers cost, and counts that hold for the home instead of one process."""
