"""The soak: many random sessions, for long, and at the end nothing is left and nothing was lost. See `__main__.py`."""
