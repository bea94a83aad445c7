"""The ``flask prodfix`` commands."""
