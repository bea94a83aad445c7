"""The commands of ``flask prodfix``: what a person asks on a shell of the host.

A command is none of the workers: it starts no loop, and writes no worker's file; what is to be done there is left as
an admin's command, and ``deferred drain`` takes only what dead workers have left. It may import every room below the
composition. Nobody imports it but the extension, which attaches it. What it prints is for eyes, or with ``--json``
for scripts, and holds no value and no secret.
"""
