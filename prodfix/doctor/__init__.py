"""What is wrong with a deployment before an outage shows it: checks, each with its advice.

It may import every room below it, and Flask only where it looks at a Flask application. Only the command line runs
it. A check changes nothing, takes bounded time, says when it cannot look, and shows no user, password, host or key.
Each is registered where it is written; its docstring's first sentence says what is well.
"""
