"""Define the sensors, schedules and jobs, which refer to assets by key and import none."""
