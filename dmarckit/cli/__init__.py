"""The commands: each reads settings, calls a lower room, and prints the result.

In: the arguments of a shell. Out: text or JSON, and an exit status.
"""
