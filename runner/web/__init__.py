"""The web page: a client of foreman and hub, and a server for the browsers of the lab's people.

It runs on the head and listens on the loopback interface alone: people come through their SSH tunnels, or sit there.
What a browser shows is told to it (server-sent events); the page itself, in ``static/``, is plain HTML, CSS and
JavaScript.
"""
