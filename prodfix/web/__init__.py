"""What knows HTTP: the WSGI layer, hooks, error handlers, answers, bodies, JSON, and a request's tokens and keys.

It may import the services and every room below them; nobody below the services may import Flask, and nobody below
this room imports it. The extension attaches it to an application. No hook or handler raises, except for what is the
client's fault; what the host handles itself stays the host's.
"""
