"""The table of marks, and what broken releases add."""
