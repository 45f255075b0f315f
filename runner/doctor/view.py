"""How what was found looks: as text for people, as JSON for programs, and while it is looked for."""

import json
from collections.abc import Sequence
from typing import TextIO

import msgspec

from runner.doctor.findings import Finding, Severity
from runner.errors import ExitCode
from runner.report.text import count, one_line, shortened

#: Characters of the line that says who is waited for.
_WIDTH = 76


def exit_code(findings: Sequence[Finding]) -> ExitCode:
    """Return the command's exit code: warnings alone are no failure."""
    return ExitCode.LAB_FAILED if _number(findings, Severity.ERROR) else ExitCode.DONE


def _number(findings: Sequence[Finding], severity: Severity) -> int:
    return sum(finding.severity is severity for finding in findings)


def text(findings: Sequence[Finding]) -> str:
    """Return the problems of each machine with what to do, and in a few lines what else was looked at."""
    by_machine: dict[str, list[Finding]] = {}
    for finding in findings:
        by_machine.setdefault(finding.machine, []).append(finding)
    lines, well = [], []
    for machine, found in by_machine.items():
        problems = [finding for finding in found if finding.severity is not Severity.OK]
        if not problems:
            well.append(one_line(machine))
            continue
        lines.append(one_line(machine))
        for problem in sorted(problems, key=lambda problem: problem.severity is not Severity.ERROR):
            lines.append(f"  {problem.severity}: {one_line(problem.message)}")
            lines += [f"    {one_line(line)}" for line in problem.advice.splitlines()]
    if well:
        lines.append(f"all is well: {', '.join(well)}")
    topics = dict.fromkeys(finding.topic for finding in findings)
    lines.append(f"checked: {', '.join(topics)}")
    errors, warnings = _number(findings, Severity.ERROR), _number(findings, Severity.WARNING)
    lines.append(f"{count(errors, 'error')}, {count(warnings, 'warning')}")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """Return what was found as one line of ASCII JSON without a last newline; fields keep their names and types.

    - ``errors``, ``warnings``: numbers; ``exit_code``: the command's
    - ``findings``: a list of one object per thing that was looked at:

      - ``severity``: ``ok``, ``warning`` or ``error``; ``machine``; ``topic``
      - ``message``: a sentence; ``advice``: commands, one per line; both empty where all is well
    """
    return json.dumps(
        {
            "errors": _number(findings, Severity.ERROR),
            "warnings": _number(findings, Severity.WARNING),
            "exit_code": int(exit_code(findings)),
            "findings": [msgspec.to_builtins(finding) for finding in findings],
        }
    )


class Progress:
    """Says on a terminal who is waited for, in one line that is gone in the end; elsewhere nothing."""

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr if stderr.isatty() else None

    def waiting(self, names: Sequence[str]) -> None:
        """Show for whom."""
        self._write(shortened(f"waiting for {', '.join(map(one_line, names))}", _WIDTH))

    def close(self) -> None:
        """Leave nothing behind."""
        self._write("")

    def _write(self, line: str) -> None:
        if self._stderr:
            self._stderr.write(f"\r\x1b[K{line}")
            self._stderr.flush()
