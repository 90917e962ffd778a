"""What is kept and read of an evaluation: the numbers, the report, its plots."""
