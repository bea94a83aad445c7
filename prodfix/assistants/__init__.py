"""For assistants and scripts: what the diagnostics answer, as tools of the Model Context Protocol.

The tools know nothing of the protocol, and the server of it nothing of errors: only ``stdio.py`` imports the SDK, and no
worker loads any of this room. What is told is redacted already, and said to be data.
"""
