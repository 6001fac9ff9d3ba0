"""Python reads this as it starts where this folder is first on PYTHONPATH: it notes in the file $WITNESS, a line each,
what asks for an address and what starts a process. Children inherit both variables, and so are watched, too."""

import json
import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

SOCKETS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"})
"""Of a socket and an address; `connect_ex` raises the event of `connect`."""
NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"})
FORKS = frozenset({"os.fork", "os.forkpty"})
STARTS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.exec", "os.system"})


def note(event, arguments):
    """One write a line, so that the lines of several processes stay whole."""
    if event in SOCKETS:
        told = arguments[1]
    elif event in NAMES:
        told = arguments[0]
    elif event in STARTS:
        told = os.fsdecode(arguments[0] or "")
    elif event in FORKS:
        told = None
    else:
        return
    line = {"event": event, "told": told, "pid": os.getpid(), "threads": len(os.listdir("/proc/self/task"))}
    handle = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, json.dumps(line, default=repr).encode() + b"\n")
    os.close(handle)


sys.addaudithook(note)
here = os.path.dirname(os.path.abspath(__file__))
other = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path) != here])
if other is not None and other.loader is not None:
    other.loader.exec_module(module_from_spec(other))
