"""May runs of a campaign share a process?  What the files of the first one tell."""

from runner import omnetpp
from runner.model import Campaign, Outcome, Run


def is_shareable(campaign: Campaign, runs: tuple[Run, ...], outcome: Outcome) -> bool:
    """Say whether runs may share a process: every file of every run can be told by its name whose it is."""
    stems = {run.number: omnetpp.file_stem(campaign.config, run) for run in runs}
    if None in stems.values() or len(set(stems.values())) < len(runs):
        return False
    return all(omnetpp.stem_of(file.path) == stems[outcome.run] for file in outcome.files)
