"""The error that a script asks for."""


class Planned(Exception):
    """An error that a script asked for."""
