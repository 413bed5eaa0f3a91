"""`file_users.py FROM TO`: users and roles of Elasticsearch's file realm, from folder to folder.

A file in `FROM/file-users` holds the password of the user that it is named after; `users_roles`
there, and `FROM/roles.yml`, have the forms of Elasticsearch's own files. `elasticsearch-users` does
the same, with a second of Java for each user.
"""

import base64
import hashlib
import os
import sys
from pathlib import Path

ROUNDS = 1000  # the passwords are random


def hashed(password: bytes) -> str:
    """As Elasticsearch's hasher `pbkdf2_1000` writes it."""
    salt = os.urandom(32)
    key = hashlib.pbkdf2_hmac("sha512", password, salt, ROUNDS, 32)
    return f"{{PBKDF2}}{ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


source, target = (Path(argument) for argument in sys.argv[1:])
given = {path.name: path.read_bytes().strip() for path in (source / "file-users").iterdir()}
(target / "users_roles").write_bytes(given.pop("users_roles") + b"\n")
users = "".join(f"{name}:{hashed(password)}\n" for name, password in sorted(given.items()))
(target / "users").write_text(users)
(target / "roles.yml").write_bytes((source / "roles.yml").read_bytes())
