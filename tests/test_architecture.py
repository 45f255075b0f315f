"""The order of the parts: what each module may import, who may start processes, what the client must not load."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUNNER = ROOT / "runner"

#: Top to bottom; a module imports only from layers below its own, also inside functions.  So no stage imports another
#: stage.  A folder counts as one module.
LAYERS: tuple[tuple[str, set[str]], ...] = (
    ("the commands of administrators and developers", {"administrators", "developers"}),
    (
        "the shell around the commands, opp_runall's command line, and a campaign as a command",
        {"commands", "runall", "campaign_command", "report_command"},
    ),
    ("what a lab's administrator asks for", {"administration", "doctor"}),
    (
        "the stories: a campaign, machines that become a lab, and the way to the web page",
        {"campaign", "provision", "logs", "web_page"},
    ),
    ("how a campaign ends", {"ending"}),
    ("how a campaign is followed", {"following"}),
    ("which campaign, and its way home", {"campaigns", "homecoming", "live_logs", "notify", "status"}),
    ("their stages, and the lab", {"snapshot", "report", "labs", "first_contact", "references", "precedence"}),
    ("the labs that there are", {"local_lab", "remote_lab"}),
    ("the lab's processes", {"services"}),
    (
        "the head's stage, the two jobs, what a machine finds out about itself, and the web page's server",
        {"foreman", "build", "simulate", "self_check", "web"},
    ),
    ("the agent of a host, and what the foreman is made of", {"agent", "hosts", "intake", "ledger"}),
    (
        "what these are made of",
        {
            "uploader",
            "patience",
            "housekeeping",
            "scheduling",
            "program",
            "console",
            "sharing",
            "making",
            "working_tree",
            "build_inputs",
        },
    ),
    ("what builds and runs need", {"checkouts", "toolchain"}),
    ("what builds leave, and how it travels", {"products"}),
    (
        "the project description, the head as a worker sees it, the machines and what playbooks do to them",
        {"config", "head", "inventory", "playbook", "code_bundle", "line", "upstream", "distcc"},
    ),
    ("how a project is built", {"recipe"}),
    ("project features", {"features"}),
    ("what a project says of itself to OMNeT++'s tools", {"ide_files"}),
    (
        "support: one outside thing each",
        {
            *{
                "results",
                "collection",
                "notes",
                "job_queue",
                "log_stream",
                "lab",
                "repository",
                "private_directory",
                "project_file",
                "omnetpp",
                "holdings",
                "successor",
                "disk",
                "compilations",
            },
            *{"ssh", "host_keys", "ansible", "inventory_rules", "knock", "command_line"},
        },
    ),
    ("what was run, and where each result came from", {"manifest"}),
    ("who may speak to whom, and where", {"curve", "machine", "chosen_lab"}),
    ("what the parts say to each other", {"messages"}),
    ("what failures have in common", {"causes"}),
    (
        "values, names, errors, processes, locks",
        {
            "model",
            "paths",
            "errors",
            "shell",
            "usage",
            "quantities",
            "refusals",
            "harmless",
            "checksums",
            "estimate",
            "toml_lines",
        },
    ),
)

#: The flow.  Stages do not import each other, but for these edges: jobs stream what they print, the foreman commits.
STAGES = {"snapshot", "foreman", "intake", "build", "simulate", "log_stream", "results", "report"}
BETWEEN_STAGES = {
    ("build", "log_stream"),
    ("simulate", "log_stream"),
    ("foreman", "results"),
    ("foreman", "intake"),
    ("intake", "results"),
}

#: The only modules that speak ZeroMQ themselves.
SPEAK_ZEROMQ = {
    "log_stream.hub",
    "log_stream.piece",
    "log_stream.sender",
    "log_stream.viewer",
    "lab",
    "labs",
    "local_lab",
    "foreman.service",
    "foreman.desk",
    "uploader",
    "services",
    "simulate.slot",
    "holdings",
    "following",
    "live_logs",
    "logs.reading",
    "curve",
    "intake",
    "knock",
    "self_check",
    "doctor.client",
    "web.hearing",
    "web.logs",
    "web.service",
}

#: Everything that starts a process.
PROCESS_MODULES = {"subprocess", "multiprocessing", "pty", "concurrent"}
PROCESS_CALLS = (
    "os.fork",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "os.system",
    "os.popen",
    "asyncio.create_subprocess",
)

#: A program for machines without labfleet; it is sent there over SSH and has to do with what it finds.
SENT = "doctor.facts_of_machine"

#: What may not be in a module that says of itself that it is pure.
OUTSIDE = {"socket", "threading", "time", "random", "datetime", "shutil", "pathlib", "tempfile", "zmq", "subprocess"}

#: A module that grows past this has more than one idea.
MOST_LINES = 400

MODULES = {
    ".".join(path.relative_to(RUNNER).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(RUNNER.rglob("*.py"))
    if path != RUNNER / "__init__.py"
}


def unit(module: str) -> str:
    """Return the module, or the folder that it belongs to."""
    return module.partition(".")[0]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(node: ast.AST) -> Iterator[str]:
    """Yield the dotted names that an import statement, or all those below a node, import."""
    for statement in ast.walk(node):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, "no relative imports"
            for alias in statement.names:
                yield f"{statement.module}.{alias.name}"


def own_imports(node: ast.AST) -> set[str]:
    """Return the modules of runner/ that are imported below a node, as their names inside it."""
    found = set()
    for name in imports(node):
        parts = name.split(".")
        if parts[0] == "runner":
            inner = parts[1:]
            while inner and ".".join(inner) not in MODULES:  # the last part is a name in a module
                inner = inner[:-1]
            if inner:
                found.add(".".join(inner))
    return found


def top_level(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(tree(path))}


def test_every_module_has_its_layer() -> None:
    # Given the layers, when compared with what is there, then each module is in exactly one, and none is forgotten
    listed = [name for _, names in LAYERS for name in names]
    assert sorted(listed) == sorted({unit(module) for module in MODULES})


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_is_below_it(module: str) -> None:
    # Given the layers, and a module
    level = {name: number for number, (_, names) in enumerate(LAYERS) for name in names}
    here = unit(module)
    # When its imports are looked at, those inside functions too
    wrong = {
        name
        for name in own_imports(tree(MODULES[module]))
        if unit(name) != here and level.get(unit(name), -1) <= level.get(here, len(LAYERS))
    }
    # Then all of them are from layers below
    assert not wrong, f"{module} ({LAYERS[level[here]][0]}) imports {', '.join(sorted(wrong))}"


def test_stages_do_not_import_each_other() -> None:
    # Given the stages of the flow, when their imports are looked at
    edges = {
        (unit(module), unit(name))
        for module, path in MODULES.items()
        for name in own_imports(tree(path))
        if {unit(module), unit(name)} <= STAGES and unit(module) != unit(name)
    }
    # Then there are none between them, but those that have a reason
    assert edges <= BETWEEN_STAGES


def test_no_import_goes_round() -> None:
    # Given what every file imports when it is loaded
    edges = {}
    for module, path in MODULES.items():
        loaded: list[ast.stmt] = [node for node in tree(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        edges[module] = own_imports(ast.Module(loaded, []))
    # When files are taken away that import none of the others
    while free := {module for module, others in edges.items() if not others & edges.keys()}:
        edges = {module: others for module, others in edges.items() if module not in free}
    # Then none is left: there is no cycle, inside folders neither
    assert not edges


@pytest.mark.parametrize("package", ["rq", "redis"])
def test_only_the_job_queue_knows_what_carries_the_work(package: str) -> None:
    # Given all modules, when their imports are looked at, then one knows RQ and Redis
    assert {unit(module) for module, path in MODULES.items() if package in top_level(path)} == {"job_queue"}


def test_only_some_modules_speak_zeromq() -> None:
    # Given all modules, when their imports are looked at, then pure ones and those of one other thing have no zmq
    assert {module for module, path in MODULES.items() if "zmq" in top_level(path)} <= SPEAK_ZEROMQ


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for an attribute of an attribute of a name; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"shell", SENT}))
def test_only_the_shell_starts_processes(module: str) -> None:
    # Given any module but shell.py
    source = tree(MODULES[module])
    # When its imports and calls are looked at
    names = {dotted(node) for node in ast.walk(source)} | set(imports(source))
    # Then nothing in it starts a process
    assert not top_level(MODULES[module]) & PROCESS_MODULES
    assert not {name for name in names if name.startswith(PROCESS_CALLS)}


PURE = ["omnetpp", "model", "errors", "hosts", "playbook", "inventory_rules", "quantities", "causes", "toml_lines"]
PURE += ["housekeeping.decisions", "housekeeping.clock", "report.failures"]
PURE += [module for module in MODULES if module.startswith("scheduling")]


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_stays_pure(module: str) -> None:
    # Given a module that decides or parses, when it is looked at
    source = tree(MODULES[module])
    names = {dotted(node) for node in ast.walk(source)}
    # Then it reads no clock, socket or file: of the operating system it knows how paths are spelled, at most
    assert not top_level(MODULES[module]) & OUTSIDE
    assert not {name for name in names if name.startswith("os.") and not f"{name}.".startswith("os.path.")}
    assert not {name for name in names if name.startswith("os.path.exists") or name in ("open", "print", "input")}


def loaded_by(statement: str) -> set[str]:
    """Return the packages that a fresh interpreter has loaded after a statement."""
    program = f"{statement}; import sys; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in answer.stdout.split()}


def test_a_client_never_loads_what_is_internal_to_the_lab() -> None:
    # Given everything that a client uses
    modules = (
        "campaign",
        "campaign_command",
        "commands",
        "config",
        "homecoming",
        "local_lab",
        "report",
        "report.campaign_table",
        "report.live",
        "runall",
        "snapshot",
    )
    # When it is loaded, with all that it loads itself
    loaded = loaded_by(f"import tasks, {', '.join(f'runner.{module}' for module in modules)}")
    # Then RQ and Redis are not there: clients never see them
    assert not loaded & {"rq", "redis"}


def test_listing_the_commands_waits_for_nothing() -> None:
    # Given the commands, when they are loaded, as for --list and --help
    loaded = loaded_by("import tasks")
    # Then nothing that takes time to import is there
    assert not loaded & {"rq", "redis", "zmq", "rich", "msgspec", "starlette", "uvicorn", "flask"}


@pytest.mark.parametrize(
    "path", [RUNNER / "__init__.py", ROOT / "tasks.py", *MODULES.values()], ids=lambda path: path.name
)
def test_every_module_explains_itself_and_has_one_idea(path: Path) -> None:
    # Given a module, when it is looked at, then it says what it is for, and is not too long to be one idea
    assert ast.get_docstring(tree(path))
    assert len(path.read_text().splitlines()) <= MOST_LINES
