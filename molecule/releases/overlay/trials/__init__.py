"""Pages and tasks that show what a deploy does to them, laid over the sample application."""
