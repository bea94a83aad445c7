"""What the live workers of one instance tell each other many times a minute: who is there, and what the last ping found.

It stands in one small file beside the journals, and on no disk that anybody waits for: no commit, no fsync, and after a
restart of the machine none of it counts. It may import native threads and what lies below; it knows neither journals nor
MongoDB. Whoever must not lose a thing writes it into a journal instead.
"""
