"""Lock waits and deadlocks of the ledger's database. SQLite has a single writer, so it has neither."""

import os
import shutil
import subprocess
from urllib.parse import unquote, urlsplit

LOCK_WAITS = "Innodb_row_lock_waits"
DEADLOCKS = "Innodb_deadlocks"


class Database:
    """A MySQL or MariaDB server, asked with its own command-line client."""

    def __init__(self, client, url):
        parts = urlsplit(url)
        address = {"host": parts.hostname, "port": parts.port or 3306, "user": unquote(parts.username or "")}
        options = (f"--{name}={value}" for name, value in address.items())
        self.command = [client, "--batch", "--skip-column-names", *options]
        self.environment = {**os.environ, "MYSQL_PWD": unquote(parts.password or "")}

    def locks(self):
        """The counters since the server started. MySQL has no counter of deadlocks: then there is no such key."""
        query = f"SHOW GLOBAL STATUS WHERE Variable_name IN ('{LOCK_WAITS}', '{DEADLOCKS}')"
        lines = subprocess.run(
            [*self.command, "--execute", query], env=self.environment, check=True, capture_output=True, text=True
        ).stdout.splitlines()
        names = {LOCK_WAITS: "lock_waits", DEADLOCKS: "deadlocks"}
        return {names[name]: int(value) for name, value in (line.split("\t") for line in lines)}


class NoDatabase:
    """An embedded ledger, or a server that this machine has no client for."""

    def locks(self):
        return {}


def connect(url):
    """The database behind the ledger's URL, if it has locks to count."""
    client = shutil.which("mariadb") or shutil.which("mysql")
    return Database(client, url) if url.startswith("mysql:") and client else NoDatabase()
