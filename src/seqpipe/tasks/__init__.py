"""One file a task: loss, metrics and what to monitor."""
