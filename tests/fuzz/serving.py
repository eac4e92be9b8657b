"""The warm process behind `forked.Lines`: reads a request a line, answers with what its fork came to."""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

WATCHED = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate")
"""Events of Python's audit hooks that change files (an `open` only where it is for writing)."""


def changes_files(event: str, arguments: tuple) -> bool:
    if event != "open":
        return event in WATCHED
    path, mode, flags = arguments
    writes = any(letter in mode for letter in "wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)
    return bool(writes) and isinstance(path, str) and not path.startswith("/dev/")


def child(asked: dict) -> None:
    """Run the line; never returns."""
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, asked["out"], 0), (2, asked["err"], 0)):
        handle = os.open(name, flags or (os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(asked["cwd"])
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if changes_files(event, arguments):
            count += 1
            if count == asked["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)

    if asked["kill_at"] is not None:
        sys.addaudithook(hook)
    code = 99
    try:
        from silverstain.cli import main

        code = main(asked["arguments"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        n_events = count
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        Path(asked["err"] + ".events").write_text(str(n_events))
        os._exit(code)


def megabytes() -> float:
    """The most that this process has had resident so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def serve(asked: dict) -> dict:
    before, started = megabytes(), time.monotonic()
    Path(asked["err"] + ".events").unlink(missing_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        child(asked)
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() - started > asked["patience"]:
            os.kill(pid, signal.SIGKILL)
            _, _, used = os.wait4(pid, 0)
            return {"code": None, "cpu_seconds": used.ru_utime + used.ru_stime, "megabytes": 0.0}
        time.sleep(0.002)
    events = Path(asked["err"] + ".events")
    return {
        "code": os.waitstatus_to_exitcode(status),
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "megabytes": max(used.ru_maxrss / 1024 - before, 0.0),
        "n_events": int(events.read_text()) if events.exists() else 0,
    }


def warm_up() -> None:
    """Load what the verbs load, so that forks start with it."""
    import contextlib
    import io

    import torch

    torch.set_num_threads(1)
    from importlib import import_module

    from silverstain.cli import main
    from silverstain.cli.main import MODULES, VERBS

    for verb in VERBS:
        import_module(f"silverstain.cli.{MODULES.get(verb, verb)}")
    with contextlib.suppress(ImportError):
        import_module("matplotlib.figure")
        import_module("matplotlib.backends.backend_agg")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["trace", "12 + 34 ="])
        main(["intervene", "12 + 34 =", "--edit", "set:L0.F0@3=1", "--generate", "1"])


def limit_memory() -> None:
    """Forks that ask for far too much are refused it, before the machine is."""
    resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    limit_memory()
    warm_up()
    for line in sys.stdin:
        answers.write(json.dumps(serve(json.loads(line))) + "\n")
        answers.flush()
