"""Define the sensors, schedules and jobs; they name assets by key and import none."""
