"""Define sensors, schedules and jobs by asset key."""
