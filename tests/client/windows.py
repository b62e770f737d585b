"""Makes this process lack what Python on Windows lacks, as far as pgchroma can tell.

Third-party modules are imported before: on Windows other builds of them are installed. A script
that imports this module first sees which of pgchroma's modules do without.
"""

# ruff: noqa: F401

import asyncio
import concurrent.futures
import importlib.metadata
import multiprocessing
import os
import platform
import signal
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import uuid

import alembic.command
import anyio
import click
import httptools
import httpx
import litestar
import numpy
import psycopg
import pydantic_settings
import rich.console
import sqlalchemy
import tenacity
import uvicorn

for module in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[module] = None  # type: ignore[assignment]

MISSING = {
    os: (
        "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK WNOHANG chown confstr fchmod fchown fork"
        " getegid geteuid getgid getloadavg getpgid getuid killpg mkfifo posix_spawn"
        " register_at_fork sched_getaffinity setsid setuid statvfs sysconf uname"
    ),
    signal: (
        "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGTSTP SIGUSR1 SIGUSR2 alarm"
        " pthread_sigmask setitimer"
    ),
}
for owner, names in MISSING.items():
    for name in names.split():
        if hasattr(owner, name):
            delattr(owner, name)

sys.platform = "win32"
