"""What the foreman decides: each campaign's state, what events do to it, and what is to be done next.

Nothing here reads a clock, a socket or a file: events and reports go in, orders and sentences come out.
"""
