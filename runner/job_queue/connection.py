"""Redis as labfleet connects to it, and the names of what is kept there."""

from urllib.parse import quote

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from rq.serializers import DefaultSerializer, JSONSerializer

BUILD_QUEUE = "build"
EVENTS = "labfleet:events"

#: Where the head tells its public CURVE key.
LAB_KEY = "labfleet:key"

#: Which machines serve.
MACHINES = "labfleet:machines"

Connection = Redis

#: What Redis answers while it cannot write, as its disk is full.
Unwritable = ResponseError
#: What is raised when Redis is away for longer than a connection waits, or refuses something, e.g. for want of disk.
REFUSALS = (RedisError, OSError)


def connect(url: str, password: str = "", authority: str = "") -> Redis:
    """Return a connection that survives a restart of Redis and waits as long as it has to.

    A ``rediss://`` URL needs the user's password and the file of the authority that vouches for the server.
    """
    secured = {"password": password, "ssl_ca_certs": authority} if url.startswith("rediss:") else {}
    return Redis.from_url(
        url,
        **secured,
        socket_timeout=None,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(cap=5, base=0.1), 100),
    )


def url(redis: str, password: str, authority: str) -> str:
    """Return one URL that says all that :func:`connect` is told."""
    if not redis.startswith("rediss:"):
        return redis
    scheme, _, rest = redis.partition("://")
    user, _, place = rest.partition("@")
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}?ssl_ca_certs={quote(authority)}"


def read_json_alone() -> None:
    """Have RQ take nothing for a pickle in this process, whatever others of its parts would do: that runs code."""
    DefaultSerializer.loads = staticmethod(JSONSerializer.loads)
    DefaultSerializer.dumps = staticmethod(JSONSerializer.dumps)


def host_queue(host: str) -> str:
    """Return the name of the queue that the slots of a host consume."""
    return f"host-{host}"


def campaign_key(campaign: str) -> str:
    """Return where a campaign's description is kept."""
    return f"labfleet:campaign:{campaign}"


def prepared_key(campaign: str) -> str:
    """Return where the outcome of a campaign's build job is kept."""
    return f"labfleet:prepared:{campaign}"


def cancelled_key(campaign: str) -> str:
    """Return what is there when a campaign's runs are no longer wanted."""
    return f"labfleet:cancelled:{campaign}"


def revoked_key(chunk: str) -> str:
    """Return what is there when a chunk is no longer wanted."""
    return f"labfleet:revoked:{chunk}"
