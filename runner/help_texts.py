"""What commands' help says beyond their options; loaded by every call, so nothing is imported here."""

#: Of the commands that run a campaign.
RESULTS = """
Results appear in the project as if it had been run here, usually in results/.  A file that is already there under the
same name is replaced when its run is done, no other file is touched.  What a run leaves that failed or was
interrupted is kept apart, in results/labfleet/CAMPAIGN/failed/, its files named *.partial.
results/campaign.json says where each result came from.
Ctrl-C leaves the campaign, which goes on: labfleet attach comes back to it, labfleet cancel ends it.
What labfleet.toml says of timeout, stall, memory, retries and max-failures holds where the option is not given; "none"
is no limit, and --retries 0 begins nothing again.
"""

#: Of the command ``lab``.
LAB = """\
labfleet lab use USER@HEAD     use the lab behind this SSH login from now on; the variable LABFLEET_LAB counts more
labfleet lab use local         use processes of this machine, as without any choice
labfleet lab status            what the lab does
labfleet lab stop [--force]    end the local lab's services; with --force also while campaigns are under way
The local lab's services start with the first campaign, and end by themselves when idle."""

#: Of the options that an administrator's commands share.
ADMINISTRATION = {
    "inventory": "Ansible inventory: a file, folder or script; may be repeated; default: $LABFLEET_INVENTORY, "
    "~/.config/labfleet/inventory.yml, inventory/lab.yml",
    "limit": "only these machines, as Ansible's patterns: 'w1,w2', 'workers:!w3'; the head is always one of them",
    "check": "change nothing, say what would be changed",
    "diff": "show how files differ",
    "accept-new": "take unknown host keys for right, without asking",
    "ask-sudo": "read the password for sudo from standard input where there is no terminal",
    "json": "print the outcome machine-readable",
}
