"""The smallest project that Django serves."""
