"""What an application may register: health checks, the status of deferred writes, what codes of errors mean, and the
diagnostics with their page.

Each is a module that exposes ``blueprint``, as any plug-in. It may import public names of :mod:`prodfix` and the
types of :mod:`prodfix.models`, and nothing else of the library; nothing below imports it: ``blueprints`` of the
extension loads what is asked for. Its blueprints' names begin with ``prodfix_``: applications have a ``health``.
"""
