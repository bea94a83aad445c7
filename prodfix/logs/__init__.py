"""How a line reaches the console and the files: redaction, rendering, bounded queues, native threads, rotation.

It may import the classification's wording, the redaction, the settings, the request's context and native threads.
Everybody above logs through it; ``prodfix.logs.lines``, which makes the lines of gunicorn's arbiter, imports nothing
but Python. Nothing here may log, wait or raise into its caller. What is lost is counted and told. A line is one JSON
object that nobody can forge.
"""
