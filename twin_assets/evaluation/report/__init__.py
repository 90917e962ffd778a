"""Write an evaluation as a stored record, a report for people, and plots."""
