"""Answer the questions of a file through the gateway, and resume an interrupted batch."""
