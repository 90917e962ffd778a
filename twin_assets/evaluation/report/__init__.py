"""Write an evaluation for storage and for people: the numbers, the report, its plots."""
