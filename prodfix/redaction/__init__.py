"""What must not be told: secrets, personal values, hosts; as rules for texts, documents and names of fields.

It imports nothing but Python, as gunicorn's arbiter and a worker that cannot load its application redact with it too.
Everybody may use it, and nobody redacts by himself. Every pattern is linear; a benign text comes out as it was.
"""
