"""Failures that end in one sentence and an exit code."""


class Failure(Exception):
    """Something went wrong while measuring: exit code 1."""

    code = 1


class Usage(Failure):
    """Something was asked for that does not exist: exit code 2."""

    code = 2
