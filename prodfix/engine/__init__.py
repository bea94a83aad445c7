"""What the applications of one process have in common that use one database: an engine, made of parts when each is needed.

It may import every room from ``web`` and the doctor down, and begins nothing: no file and no connection is opened by
making it. Above it stand what runs beside requests (``prodfix/background.py``) and what gives an application its services
(``prodfix/composition.py``). ``engine.py`` wires the parts; those that belong together have a file of their own.
"""
