"""Where clients are served: their requests, and the answers."""

import errno
from collections.abc import Iterable

import msgspec
import zmq

from runner import curve, ledger, results
from runner.foreman.books import Books, UnknownCampaign, status_of
from runner.foreman.watching import Watching
from runner.hosts import Hosts
from runner.housekeeping import products
from runner.housekeeping.head import under_way, why_gone
from runner.housekeeping.regularly import limits_of
from runner.job_queue import Unwritable
from runner.machine import Machine
from runner.messages import (
    Accepted,
    Answer,
    AnyRequest,
    AskCampaigns,
    AskMachines,
    AskProducts,
    CampaignEnded,
    Campaigns,
    Cancel,
    Collected,
    Drain,
    Event,
    Explain,
    Explained,
    Follow,
    Machines,
    PruneProducts,
    Refused,
    Resume,
    Shutdown,
    Status,
    Submit,
    Watch,
)
from runner.model import PROTOCOL, Campaign, decode, encode
from runner.refusals import Refusals
from runner.scheduling.explain import builds, explain, explain_ended

#: The largest request: a campaign with its environment.
LARGEST_REQUEST = 4 << 20


class Desk:
    """Answers clients; on a remote lab they are people, known by the keys of their connections."""

    def __init__(self, machine: Machine, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self._machine, self._paths = machine, machine.paths
        self._is_remote = machine.settings is not None
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.SNDHWM, 0)  # an event must never be dropped; a campaign's are few and small
        self.socket.set(zmq.ROUTER_MANDATORY, 1)  # so it is known who is gone
        self.socket.set(zmq.MAXMSGSIZE, LARGEST_REQUEST)
        self.socket.set(zmq.LINGER, 1000)
        self._refusals = Refusals("request")
        #: Who watches the lab.
        self.watching = Watching(self.send_all, self._provisioned)
        #: Somebody wants the lab to end.
        self.ends = False

    def open(self) -> None:
        """Let clients come."""
        if self._is_remote:
            curve.serve(self.socket, curve.own_keys(self._paths.keys, "server"), curve.PEOPLE)
        self.socket.bind(self._machine.foreman)

    def send(self, client: bytes, message: Answer | Event) -> None:
        """Send something to a client; nothing happens if it is gone."""
        self.send_all([client], message)

    def send_all(self, clients: Iterable[bytes], message: Answer | Event) -> set[bytes]:
        """Send the same to clients, and return those that are gone."""
        body, gone = encode(message), set()
        for client in clients:
            try:
                self.socket.send_multipart([client, body])
            except zmq.ZMQError as error:
                if error.errno != errno.EHOSTUNREACH:
                    raise
                gone.add(client)
        return gone

    def serve(self, books: Books, hosts: Hosts) -> None:
        """Take a request and answer it."""
        frames = self.socket.recv_multipart(copy=False)
        client, body = frames[0].bytes, frames[-1]
        try:
            person = self._person(body)
            request: AnyRequest = decode(body.bytes, AnyRequest)
        except ValueError as error:
            self._refusals.note(error)
            self.send(client, Refused("the lab does not understand this request", "is it of the same version?"))
            return
        self.watching.hear(client)
        try:
            match request:
                case Watch():
                    self.watching.begin(client, books, hosts)
                case Submit(campaign):
                    self._submit(books, hosts, client, campaign, person)
                case Follow(name):
                    self._follow(books, client, name, person)
                case _:
                    self.send(client, self._answer(books, hosts, client, request, person))
        except UnknownCampaign as error:
            self.send(client, self._unknown(str(error)))
        except (OSError, Unwritable) as error:
            hint = "labfleet doctor tells more"
            self.send(client, Refused(f"the lab cannot do this just now: {error}", hint))

    def _answer(self, books: Books, hosts: Hosts, client: bytes, request: AnyRequest, person: str | None) -> Answer:
        answer: Answer
        match request:
            case Cancel(name):
                answer = self._cancel(books, name, person)
            case Resume(name):
                answer = self._resume(books, hosts, name, person)
            case Collected(name, ended):
                answer = self._collected(books, name, ended, person)
            case AskCampaigns():
                answer = Campaigns(tuple(books.statuses()))
            case AskMachines():
                table = hosts.table(self._provisioned(), books.states.values())
                answer = Machines(table, self._machine.revision, self._deployed())
            case AskProducts() | PruneProducts():
                answer = self._products(prune=isinstance(request, PruneProducts))
            case Explain(name, run):
                answer = self._explain(books, hosts, name, run)
            case Drain(host, drained):
                answer = self._drain(hosts, host, drained, person)
            case Shutdown(force):
                answer = self._shutdown(books, force)
            case _:
                under_way = tuple(map(status_of, books.states.values()))
                is_watched = self.watching.tells(client)
                answer = Status(PROTOCOL, hosts.serving(), under_way, books.series, is_watched)
        return answer

    def _provisioned(self) -> set[str]:
        """Return the machines that have a key."""
        return {folder.name for folder in (self._paths.keys / curve.WORKERS).glob("*")}

    def _person(self, message: zmq.Frame) -> str | None:
        """Return who sent a message, by the key of the connection.

        None: it may do what anybody may, as on a local lab, which has one person only; or it is the head's own web
        page, which has to see for itself who asks it for what.

        Raises ValueError for a key that was withdrawn since.
        """
        if not self._is_remote:
            return None
        person = curve.owner(self._paths.keys, curve.PEOPLE, str(message.get("User-Id")))
        if person is None:
            raise ValueError("unknown key")
        return None if person == curve.HEAD_ITSELF else person

    # ---- campaigns ----

    def _submit(self, books: Books, hosts: Hosts, client: bytes, campaign: Campaign, person: str | None) -> None:
        """Take a campaign on; what its client is told begins after the answer."""
        if person is not None:
            campaign = msgspec.structs.replace(campaign, user=person)
        if campaign.protocol != PROTOCOL:
            answer: Answer = Refused(
                f"this labfleet speaks version {campaign.protocol} of the protocol, the lab {PROTOCOL}",
                "use the same version on both sides",
            )
            self.send(client, answer)
            return
        is_known = campaign.id in set(ledger.campaigns(self._paths))
        try:
            books.submit(campaign, hosts.now)
        except FileExistsError:
            answer = Refused(f"{campaign.id!r} cannot be the id of a new campaign: there is one")
        except OSError as error:
            answer = Refused(f"the lab cannot take on a campaign: {error}", f"look at the disk of {self._paths.home}")
        else:
            answer = Accepted()
        self.send(client, answer)
        if isinstance(answer, Accepted):
            if is_known:
                self._tell_all(client, books.follow(client, campaign.id))
            else:
                books.add_follower(campaign.id, client)

    def _follow(self, books: Books, client: bytes, name: str, person: str | None) -> None:
        owner = self._owner(books, name)
        if owner is None:
            self.send(client, self._unknown(name))
        elif person not in (None, owner):
            self.send(client, Refused(f"campaign {name} belongs to {owner}", "its owner can attach to it"))
        else:
            story = books.follow(client, name)
            self.send(client, Accepted())
            self._tell_all(client, story)

    def _tell_all(self, client: bytes, story: Iterable[Event]) -> None:
        for event in story:
            self.send(client, event)

    def _cancel(self, books: Books, name: str, person: str | None) -> Answer:
        state = books.states.get(name)
        if state is None:
            return Refused(f"no campaign {name} is under way")
        if person not in (None, state.campaign.user):
            return Refused(f"campaign {name} belongs to {state.campaign.user}", "ask its owner to cancel it")
        books.cancel(state)
        return Accepted()

    def _resume(self, books: Books, hosts: Hosts, name: str, person: str | None) -> Answer:
        if name in books.states:
            return Refused(f"campaign {name} is under way", f"labfleet attach {name} shows it")
        owner = self._owner(books, name)
        if owner is None:
            return self._unknown(name)
        if person not in (None, owner):
            return Refused(f"campaign {name} belongs to {owner}", "ask its owner to resume it")
        end = ledger.read_end(self._paths.campaign(name))
        if end and end.status.phase == "done":
            return Refused(f"all runs of campaign {name} are done", f"labfleet attach {name} brings them home")
        books.resume(name, hosts.now)
        return Accepted()

    def _collected(self, books: Books, name: str, ended: float, person: str | None) -> Answer:
        owner = self._owner(books, name)
        if owner is None:
            return self._unknown(name)
        if name in books.states or person not in (None, owner):
            return Refused(f"campaign {name} is under way, or somebody else's")
        end = ledger.read_end(self._paths.campaign(name))
        if ended and end and isinstance(end.told, CampaignEnded) and end.told.time != ended:
            return Refused(f"campaign {name} was resumed since", f"labfleet attach {name} brings the rest home")
        ledger.note_collected(self._paths.campaign(name))
        self.watching.note_collected(books, name)
        return Accepted()

    def _unknown(self, name: str) -> Refused:
        why = why_gone(self._paths, name) or f"the lab has no campaign {name}"
        return Refused(why, "labfleet campaigns lists those that it has")

    def _owner(self, books: Books, name: str) -> str | None:
        """Return whose a campaign is; None if there is none of that name."""
        if state := books.states.get(name):
            return state.campaign.user
        if name not in set(ledger.campaigns(self._paths)):
            return None
        end = ledger.read_end(self._paths.campaign(name))
        return end.status.user if end else None

    def _explain(self, books: Books, hosts: Hosts, name: str, run: int | None) -> Answer:
        state = books.states.get(name)
        if state is not None:
            machines = hosts.table((), books.states.values())
            text = explain(state, run, machines, list(books.states.values()), hosts.now)
            return Explained(text, is_built=state.prepared is None and name in builds(machines))
        kept = ledger.read(self._paths.campaign(name)) if self._owner(books, name) else None
        if kept is None or kept.end is None:
            return self._unknown(name)
        return Explained(explain_ended(kept.end.status, kept.end.told, kept.over, run))

    # ---- the lab ----

    def _deployed(self) -> str:
        """Return the revision of labfleet's code that the git server has for everybody."""
        if not self._is_remote:
            return ""
        ref = self._paths.repository("labfleet") / "refs" / "heads" / "deployed"
        return ref.read_text().strip() if ref.exists() else ""

    def _products(self, *, prune: bool) -> Answer:
        """Return the products that there are, after those went that nobody needs, if that is wanted."""
        used_by: dict[str, set[str]] = {}
        for campaign, keys in under_way(self._paths).items():
            for key in keys or {""}:
                used_by.setdefault(key, set()).add(campaign)
        removed, freed, held = products.prune(self._paths, used_by) if prune else (0, 0, 0)
        table = products.table(self._paths, limits_of(self._machine).product_bytes, used_by)
        return msgspec.structs.replace(table, removed=removed, freed=freed, held=held)

    def _drain(self, hosts: Hosts, host: str, drained: bool, person: str | None) -> Answer:
        known = hosts.names | self._provisioned()
        if host not in known:
            return Refused(f"there is no machine {host}", f"known: {', '.join(sorted(known)) or 'none'}")
        if drained:
            hosts.drain(host, person or "you")
        else:
            hosts.undrain(host)
        results.write_durably({self._paths.drained: encode(hosts.drained)})
        return Accepted()

    def _shutdown(self, books: Books, force: bool) -> Answer:
        if self._is_remote:
            return Refused("a remote lab is not ended by its clients", "an administrator can: labfleet teardown")
        if books.states and not force:
            return Refused(
                f"there are campaigns under way: {', '.join(books.states)}",
                "wait for them, or stop the lab with --force; they go on when it is started again",
            )
        self.ends = True
        return Accepted()
