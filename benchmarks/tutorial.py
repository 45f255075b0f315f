"""What OMNeT++'s tutorial on Redis Queue does: each job carries the whole model as a zip archive, and builds it.

Its workers clean the model and build it in each job, by ccache; here with a process per processor.
As a program (``python -m benchmarks.tutorial ROOT PORT [build]``) it is the client: packs, submits a run, waits for it.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

#: Folders that the archive does without.
LEFT_OUT = {".git", "results", "out"}


def packed(root: str) -> bytes:
    """Return a folder as a zip archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as into:
        for top, folders, files in os.walk(root):
            folders[:] = [folder for folder in folders if folder not in LEFT_OUT]
            for file in files:
                path = os.path.join(top, file)
                into.write(path, os.path.relpath(path, root))
    return archive.getvalue()


def job(archive: bytes, *, builds: bool) -> None:
    """Do a run: unpack, build, start.  ``builds``: whether there is something to compile, or all is done already."""
    with tempfile.TemporaryDirectory() as root:
        zipfile.ZipFile(io.BytesIO(archive)).extractall(root)
        if builds:
            compiler = "ccache g++" if shutil.which("ccache") else "g++"
            subprocess.run(["make", "-s", "clean"], cwd=root, check=True)
            subprocess.run(["make", "-s", f"-j{os.cpu_count()}", f"CXX={compiler}"], cwd=root, check=True)
        else:
            subprocess.run(["cp", "model.in", "model"], cwd=root, check=True)
            subprocess.run(["chmod", "+x", "model"], cwd=root, check=True)
        subprocess.run(["./model", "-u", "Cmdenv", "-c", "General", "-r", "0"], cwd=root, check=True)


def main(root: str, port: int, *, builds: bool) -> None:
    """Submit a run and wait for it.  Raises OSError if it fails."""
    from redis import Redis
    from rq import Queue

    submitted = Queue(connection=Redis(port=port)).enqueue("benchmarks.tutorial.job", packed(root), builds=builds)
    while not submitted.is_finished:
        if submitted.is_failed:
            raise OSError("the job failed")
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), builds=sys.argv[3:] == ["build"])
