"""Every file name of labfleet, in one place.

Layout of a lab's home (``$LABFLEET_HOME``, by default ``~/.local/state/labfleet``); in a remote lab the head holds
the first half and every worker the second::

    lab.json lab.lock log/        what runs, and what it said; local.lock is held by a local lab's supervisor
    redis/                        append-only file
    git/PROJECT.git               git server: one bare repository per project
    products/KEY/                 product.json, and a file that remembers when the product's contents were read
    products/files/SHA256         the contents, those of programs as SHA256.x; products.checked: last look at all
    incoming/PARCEL/              what workers have delivered and the foreman has not taken yet
    campaigns/ID/                 the result store: campaign.json, prepared.json, build.log, runs/, failed/, records/,
                                  lost.jsonl, end.json, and the marks cancelled, resumed, forgiven, collected
    removed.log store.lock        which campaigns were removed, and why; held while one is removed or resumed
    drained.json                  machines that get no runs because somebody said so
    logs/ID/                      the log hub's files
    web/                          the web page: people/LOGIN (the secret of a token), service.json, and the mark wanted
    keys/                         CURVE keys: the lab's own, and the public ones of people and workers; NAME.lock is
                                  held while a pair is made

    mirror/PROJECT.git            this host's copy of the repositories
    products/KEY/, products/files/SHA256
                                  this host's copy of the products
    builds/…/                     the builder's working trees
    checkouts/TREE-KEY/           commit and products, shared by all slots, read-only; TREE-KEY.use is locked by users
    private/…/                    private directories of running processes
    spool/PARCEL/                 finished attempts that wait for the uploader
    outgoing/PARCEL/              what the builder is about to deliver
    keys/                         CURVE keys: the machine's own

    snapshots/PROJECT.git         the client's: index and objects of the snapshots it took
    references/NAME-…/NAME        the client's: clones of repositories that references name, a revision each
    remote/LAB/                   the client's: its key for a remote lab, and results on their way home
    notes/ID.json                 the client's: where a campaign of its own belongs; ID.home: what has come home of it;
                                  ID.lock is held by who brings it home
    at-home/ID.json               the client's: the note, when everything has come home
    placing-….lock linking-….lock the client's: held while it puts something into a results folder
    tidied                        the client's: when its housekeeping was done last, and what it said
"""

from runner.paths.campaign import (
    AttemptPaths,
    CampaignPaths,
    attempt_parcel,
    build_log_parcel,
    parsed_parcel,
    stored_name,
)
from runner.paths.home import CAMPAIGNS, LONGEST_NAME, PARTIAL, HomePaths, report_of
from runner.paths.lab import (
    CODE,
    EXAMPLE,
    GENERATED,
    SNAPSHOT_ROOT,
    SOURCE,
    LabPaths,
    half_of,
    home,
    index_of,
    lock_of,
    use_of,
)

__all__ = [
    "CAMPAIGNS",
    "CODE",
    "EXAMPLE",
    "GENERATED",
    "LONGEST_NAME",
    "PARTIAL",
    "SNAPSHOT_ROOT",
    "SOURCE",
    "AttemptPaths",
    "CampaignPaths",
    "HomePaths",
    "LabPaths",
    "attempt_parcel",
    "build_log_parcel",
    "half_of",
    "home",
    "index_of",
    "lock_of",
    "parsed_parcel",
    "report_of",
    "stored_name",
    "use_of",
]
