"""Real faults: processes on machines that are namespaces, and what becomes of the messages between them. See `__main__.py`."""
