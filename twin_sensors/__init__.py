"""When things happen: sensors, schedules, and jobs by asset key."""
