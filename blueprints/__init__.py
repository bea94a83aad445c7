"""The plug-ins of the served application. To add one: a module that exposes ``blueprint``, and its name here.

A plug-in imports public names of ``prodfix``, and of ``prodfix.models`` the types of what it shows; nothing else of
it. The library knows none of them by name or path: what others must know of one, it tells when it is registered.
``notes`` is the example; delete it, and nothing else changes. The others are the library's own.
"""

from blueprints import notes, welcome
from prodfix.blueprints import diagnostics, health, metrics, operations, problems

BLUEPRINTS = (health, diagnostics, operations, problems, metrics, welcome, notes)
