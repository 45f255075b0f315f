"""The foreman: takes campaigns on, keeps the hosts' queues fed, and tells the clients what happens.

All decisions are in scheduling/; here are the parts that listen and act: on events of workers (service.py), on requests
of clients (desk.py), and on the campaigns and what the store knows of them (books.py).
"""

from runner.foreman.service import Foreman

__all__ = ["Foreman"]
