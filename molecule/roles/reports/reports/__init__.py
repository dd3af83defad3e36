"""Reports, which a worker makes."""
